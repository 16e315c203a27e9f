#!/usr/bin/env python3
"""Writes what `transformers` renders and what `tokenizers` encodes, for the tests in ../transformers.rs.

    pip install transformers jinja2 && python3 make.py

Nothing is downloaded: templates are written below, tokenizers are trained on the lines below.
"""
import datetime
import json
import pathlib

import tokenizers
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers.utils import chat_template_utils as chat

HERE = pathlib.Path(__file__).parent


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 11, 30)


chat.datetime = Clock

EACH = "{% for m in messages %}"
SAY = "{{ m.role }}: {{ m.content }}\n"
ASK = "{% if add_generation_prompt %}assistant: {% endif %}"
TEMPLATES = {
    "plain": EACH + "<|{{ m['role'] }}|>\n{{ m['content'] | trim }}</s>\n{% endfor %}" + ASK,
    "whitespace": "  {%- for m in messages -%}\n   {%+ if true %}\n  {{ m.role }}\n  {% endif %}\n {{- m.content -}} \n{# note #}\n{%- endfor %}\n\n" + ASK + "\n",
    "crlf": "{% for m in messages %}\r\n{{ m.role }}\r\n{{ m.content }}\r\n{% endfor %}\r\nend\r\n",
    "carriage_returns": "{% for m in messages %}\ra{{ m.content }}\r{% endfor %}\r",
    "generation": EACH + "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}</s>{% endgeneration %}{% else %}{{ m.content }}{% endif %}\n{% endfor %}" + ASK,
    "generation_trimmed": EACH + "\n  {%- if m.role == 'assistant' -%}\n  {%- generation -%}\n  {{ m.content }} </s>\n  {%- endgeneration -%}\n  {%- else %}\n  {{ m.content }}\n  {%- endif %}\n{%- endfor %}",
    "generation_scope": EACH + "{% set x = 'out' %}{% generation %}{% set x = 'in' %}{{ x }}{% endgeneration %}{{ x }}{{ m.content }}{% endfor %}",
    "generation_in_text": EACH + "{{ '{% generation %}' }}{% raw %}{% generation %}{% endraw %}{# {% generation %} #}{{ m.content }}{% endfor %}",
    "none_and_truth": EACH + "{{ tools }} {{ documents }} {{ add_generation_prompt }} {{ tools is none }} {{ tools is defined }} {{ m.content }}{% endfor %}",
    "tools_without_guard": "{% if tools is not none %}phantom{% endif %}{% if documents %}more{% endif %}" + EACH + SAY + "{% endfor %}",
    "undefined": EACH + "{{ nothing }}{{ m.nothing }}{% if not nothing %}!{% endif %}{% for x in nothing %}x{% endfor %}{{ nothing | default('d') }}{{ 'x' in nothing }}{{ m.content }}{% endfor %}",
    "tojson": EACH + "{{ m | tojson }} {{ {'b': 1, 'a': [1.0, 2.5, 1e20, 1e-7, 0.0, -3, true, none, 'é<>&\"\\\\\n\t\u2028']} | tojson }}{% endfor %}",
    "tojson_options": EACH + "{{ m | tojson(indent=2) }}{{ [[], {}, [1, {'x': 2}]] | tojson(indent=4) }}{{ {'b': 'é😀', 'a': 1} | tojson(ensure_ascii=true, sort_keys=true) }}{{ [1, {'a': 2}] | tojson(separators=(',', ':')) }}{{ [1] | tojson(indent='\t') }}{% endfor %}",
    "tojson_keys": EACH + "{{ {1: 'a', true: 'b', none: 'c', 2.5: 'd'} | tojson }}{{ m.content }}{% endfor %}",
    "date": "{{ strftime_now('%d %b %Y') }} {{ strftime_now('%Y-%m-%d %A %B %j %-d %%') }}" + EACH + SAY + "{% endfor %}",
    "date_with_fallback": "{% if date_string is not defined %}{% if strftime_now is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% else %}{% set date_string = '26 Jul 2024' %}{% endif %}{% endif %}Today Date: {{ date_string }}\n" + EACH + SAY + "{% endfor %}",
    "namespace": "{% set ns = namespace(n=0, last='') %}" + EACH + "{% set ns.n = ns.n + 1 %}{% set ns.last = m.role %}{% set lost = 1 %}{{ m.content }}{% endfor %}{{ ns.n }}{{ ns.last }}{{ lost }}",
    "macro": "{% macro line(m, mark='-') %}{{ mark ~ ' ' ~ m.content }}\n{% endmacro %}" + EACH + "{{ line(m) }}{{ line(m, mark='+') }}{{ line(mark='*', m=m) | trim }}{% endfor %}",
    "controls": "{% for m in messages[::-1] %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.content }}{% if loop.index0 == 7 %}{% break %}{% endif %}{% endfor %}{{ messages | selectattr('role', 'equalto', 'system') | map(attribute='content') | join(',') }}",
    "loop": EACH + "{{ loop.index }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex0 }}{{ loop.previtem.role if loop.previtem is defined }}{{ m.content }}{% else %}none{% endfor %}",
    "strings": EACH + "{{ m.content.strip().split(' ') | length }}{{ m.content.startswith('H') }}{{ m.content.replace('a', 'A') }}{{ m.content[:2] }}{{ m.content[-1] }}{{ m.content | upper | lower | capitalize }}{{ 'x' * 3 }}{{ '%s-%d' % ('a', 3) }}{{ 'a,b'.split(',')[1] }}{{ m.content }}{% endfor %}",
    "more_strings": EACH + "{{ m.content.rstrip('.!?') }}{{ m.content.lstrip() }}{{ m.content.find('a') }}{{ m.content.endswith('.') }}{{ m.content | replace('e', 'E', 1) }}{{ m.content.title() }}{{ 'a' ~ 1 ~ none ~ true }}{{ m.content | length }}{{ m.content }}{% endfor %}",
    "lists": EACH + "{{ [1, 'a', none, true, 2.5] }}{{ {'k': 'v', 'a': [1]} }}{{ (1, 2) }}{{ [1, 2] + [3] }}{{ [3, 1] | sort }}{{ [1, 2, 3] | sum }}{{ [1] | first }}{{ [[1, 2], [3]] | length }}{{ 2 in [1, 2] }}{{ m.content }}{% endfor %}",
    "dicts": EACH + "{% for k, v in {'z': 1, 'a': 2, 'm': 3}.items() %}{{ k }}{{ v }}{% endfor %}{{ {'z': 1, 'a': 2}.keys() | list }}{{ {'z': 1, 'a': 2} | dictsort }}{{ m.get('role') }}{{ m.get('x', 'y') }}{{ 'role' in m }}{{ m['content'] }}{% endfor %}",
    "numbers": EACH + "{{ 7 // 2 }} {{ 7 / 2 }} {{ 4 / 2 }} {{ 2 ** 10 }} {{ -7 % 3 }} {{ -7 // 2 }} {{ 1.0 }} {{ 1e3 }} {{ 3 | string ~ 'x' }} {{ '4' | int + 1 }} {{ 2.5 | round }} {{ 10 | abs }}{{ m.content }}{% endfor %}",
    "types": EACH + "{{ m.content is string }}{{ m is mapping }}{{ m.content is iterable }}{{ m is sequence }}{{ 1 is number }}{{ true is boolean }}{{ m.content is none }}{{ m.content is not none }}{{ none is defined }}{{ m.content }}{% endfor %}",
    "conditions": EACH + "{{ 'u' if m.role == 'user' else 'o' }}{{ 'e' if m.content == '' }}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}odd{% elif not m.role in ['user', 'assistant'] and true or false %}s{% endif %}{{ 1 < 2 <= 2 }}{{ m.content }}{% endfor %}",
    "filters": EACH + "{{ '<b>' }}{{ '<b>' | e }}{{ 'a b' | title }}{{ [1, 2] | join('-') }}{{ 'x' | default('y') }}{{ '' | default('y', true) }}{{ 'a\nb' | indent(2) }}{{ [1, 2, 3] | last }}{{ ['a', 'b'] | reverse | list }}{{ 'abc' | list }}{{ [1, 2, 3, 4] | batch(2) | list }}{{ [0, 1, ''] | select | list }}{{ [0, 1] | reject | list }}{{ m.content }}{% endfor %}",
    "set_block": "{% set block %}a {{ messages[0].role }} b{% endset %}{{ block | upper }}" + EACH + SAY + "{% endfor %}",
    "call_and_filter": "{% filter upper %}" + EACH + "{{ m.role }}{% endfilter %}{% endfor %}",
    "filter_block": EACH + "{% filter upper %}{{ m.role }}{% endfilter %}{{ m.content }}{% endfor %}",
    "system_first": "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set rest = messages[1:] %}{% else %}{% set system = 'default' %}{% set rest = messages %}{% endif %}S:{{ system }}\n{% for m in rest %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}" + SAY + "{% endfor %}",
    "no_system": "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + EACH + SAY + "{% endfor %}",
    "thinking": EACH + "{% set content = m.content.split('</think>')[-1].lstrip('\\n') if m.role == 'assistant' else m.content %}{{ m.role }}: {{ content }}\n{% endfor %}" + ASK + "{% if add_generation_prompt and enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}",
    "special_tokens": "{{ bos_token }}" + EACH + "{{ m.content + eos_token }}{% endfor %}{{ pad_token }}",
    "parts_only": EACH + "{{ m.role }}: {% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}\n{% endfor %}",
    "parts_by_index": EACH + "{{ m.role }}: {{ m['content'][0]['text'] }}\n{% endfor %}",
    "parts_or_text": EACH + "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}({{ p['text'] }}){% endfor %}{% endif %}\n{% endfor %}",
    "bom": "\ufeff" + EACH + SAY + "{% endfor %}",
    "dead_ends": EACH + "{{ {{ }}{% endfor %}",
}
USER = [{"role": "user", "content": "Films like Heat (1995)?"}]
TALK = [
    {"role": "user", "content": "Hello."},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nWhat do you like?"},
    {"role": "user", "content": " Amélie & \"Heat\"!\n"},
]
SYSTEM = [{"role": "system", "content": "Be brief."}] + USER
VARIABLES = {
    "thinking": [{}, {"enable_thinking": False}, {"enable_thinking": True}],
    "special_tokens": [{"bos_token": "<s>", "eos_token": "</s>"}],
    "date_with_fallback": [{}, {"date_string": "1 May 2020"}],
}


def content_parts(messages):
    return [dict(m, content=[{"type": "text", "text": m["content"]}]) for m in messages]


def render(template, messages, ask, variables):
    try:
        text, _ = chat.render_jinja_template([messages], chat_template=template, add_generation_prompt=ask, **variables)
        return text[0]
    except Exception as error:  # jinja2 has many
        return None


def templates():
    conversations = [USER, TALK, SYSTEM]
    cases = []
    for name, template in TEMPLATES.items():
        renderings = []
        for number, messages in enumerate(conversations):
            given = content_parts(messages) if name in ["parts_only", "parts_by_index"] else messages
            for ask in [True, False]:
                for variables in VARIABLES.get(name, [{}]):
                    text = render(template, given, ask, variables)
                    renderings.append({"conversation": number, "ask": ask, "variables": variables, "text": text})
        cases.append({"name": name, "template": template, "renderings": renderings})
    return {"transformers": transformers.__version__, "conversations": conversations, "cases": cases}


LINES = ["Heat (1995)\n", "The Godfather (1972)\n", "I loved Heat, what else?", "<|user|>\nhello", "Amélie (2001)\n"] * 3
TEXTS = ["Heat (1995)\n", "Heat (1995)\nThe Godfather (1972)\n", " two  spaces ", "", "\n", "日本 Amélie\t(2001)", "<s>hi</s> <|user|>\nx</s>\n", "a</s>b"]


def bpe(**options):
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    for name, part in options.items():
        setattr(tokenizer, name, part)
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=names, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    value = json.loads(tokenizer.to_str())
    # Bytes are ordinary tokens, as in published files.
    value["added_tokens"] = value["added_tokens"][:3]
    return value


def encodings():
    metaspace = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    gemma = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    byte_level = Tokenizer(models.BPE())
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    byte_level.decoder = decoders.ByteLevel()
    names = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=names, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    byte_level.train_from_iterator(LINES, trainer)
    files = {
        "llama_prepend": bpe(normalizer=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), decoder=metaspace),
        "llama_metaspace": bpe(pre_tokenizer=pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False), decoder=metaspace),
        "gemma": bpe(normalizer=normalizers.Replace(" ", "▁"), pre_tokenizer=pre_tokenizers.Split(" ", "merged_with_previous"), decoder=gemma),
        "gpt2_prefix": json.loads(byte_level.to_str()),
    }
    result = {}
    for name, value in files.items():
        tokenizer = Tokenizer.from_str(json.dumps(value))
        cases = []
        for text in TEXTS:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            cases.append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)})
        result[name] = {"tokenizer": value, "cases": cases}
    return {"tokenizers": tokenizers.__version__, "files": result}


for name, value in [("templates", templates()), ("encodings", encodings())]:
    (HERE / f"{name}.json").write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
