"""OpenAI's own library for Python, used as its documentation shows."""

import re
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel
from serving import PATIENCE, Server

ASKED = [{"role": "user", "content": "I loved Heat (1995). Something like it?"}]


class Film(BaseModel):
    title: str
    year: int


class Films(BaseModel):
    films: list[Film]


def client_of(server, key="none", **more):
    return OpenAI(base_url=server.url + "/v1", api_key=key, timeout=PATIENCE, **more)


@pytest.fixture(scope="module")
def client(server):
    return client_of(server)


def titles(text):
    """The names of a list as the model writes it."""
    lines = [re.fullmatch(r"\d+\. (.+)", line) for line in text.splitlines()]
    assert all(lines), text
    return [line[1] for line in lines]


def test_models(client):
    models = client.models.list()
    assert [model.id for model in models] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "convrec"


def test_chat_whole(client):
    answer = client.chat.completions.create(model="tiny", messages=ASKED, temperature=0, seed=1)
    choice = answer.choices[0]
    assert choice.message.role == "assistant" and choice.finish_reason == "stop"
    names = titles(choice.message.content)
    assert len(set(names)) == 5 and "Heat (1995)" not in names
    assert [item["name"] for item in choice.model_extra["items"]] == names
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0


def test_chat_streamed(client):
    asked = {"model": "tiny", "messages": ASKED, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(stream=True, **asked))
    whole = client.chat.completions.create(model="tiny", messages=ASKED)
    parts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(parts) == whole.choices[0].message.content
    assert sum(bool(part) for part in parts) >= 5, "one chunk an item at least"
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    ends = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert ends[-1] == "stop" and not any(ends[:-1])
    assert len({chunk.id for chunk in chunks}) == 1
    # The library's own reader of streams comes to the same.
    with client.chat.completions.stream(model="tiny", messages=ASKED) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == whole.choices[0].message.content


def test_chat_with_fields_of_our_own(client):
    own = {"exclude": ["Fargo (1996)"], "only": {"genres": ["comedy", "crime"]}, "n_items": 3}
    answer = client.chat.completions.create(model="tiny", messages=ASKED, extra_body=own)
    items = answer.choices[0].model_extra["items"]
    assert len(items) == 3 and "Fargo (1996)" not in [item["name"] for item in items]
    assert all({"Comedy", "Crime"} & set(item["genres"]) for item in items if "genres" in item)


def test_structured_output(client):
    answer = client.chat.completions.parse(model="tiny", messages=ASKED, response_format=Films)
    films = answer.choices[0].message.parsed.films
    assert len(films) == 5 and all(isinstance(film.year, int) for film in films)
    plain = client.chat.completions.create(model="tiny", messages=ASKED)
    names = [f"{film.title} ({film.year})" for film in films]
    assert names == titles(plain.choices[0].message.content)


def test_log_probabilities(client):
    asked = {"model": "tiny", "messages": ASKED, "logprobs": True, "top_logprobs": 2}
    content = client.chat.completions.create(**asked).choices[0].logprobs.content
    assert content and all(token.logprob <= 0 for token in content)
    assert max(len(token.top_logprobs) for token in content) == 2


def test_completions(client):
    asked = {"model": "tiny", "prompt": "A list:", "n": 2, "max_tokens": 8, "seed": 3}
    answer = client.completions.create(temperature=1, logprobs=1, **asked)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert all(len(choice.logprobs.token_logprobs) <= 8 for choice in answer.choices)
    again = client.completions.create(temperature=1, **asked)
    assert [one.text for one in again.choices] == [one.text for one in answer.choices]
    parts = {0: "", 1: ""}
    for chunk in client.completions.create(stream=True, temperature=1, **asked):
        for choice in chunk.choices:
            parts[choice.index] += choice.text
    assert list(parts.values()) == [choice.text for choice in answer.choices]


def test_errors_have_their_classes(client, server):
    create = client.chat.completions.create
    with pytest.raises(openai.BadRequestError, match="temperature"):
        create(model="tiny", messages=ASKED, temperature=-1)
    with pytest.raises(openai.BadRequestError) as refused:
        create(model="tiny", messages=ASKED, extra_body={"exclude": ["Hat (1995)"]})
    assert refused.value.code == "unknown_item" and "Heat (1995)" in refused.value.message
    with pytest.raises(openai.NotFoundError):
        create(model="gpt", messages=ASKED)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt")
    with pytest.raises(openai.APIConnectionError):
        gone = Server()
        gone.kill()
        client_of(gone, max_retries=0).models.list()


def test_keys():
    server = Server(keys="one,two")
    try:
        with pytest.raises(openai.AuthenticationError):
            client_of(server, "three").models.list()
        assert client_of(server, "two").models.list().data
    finally:
        server.kill()


def test_a_busy_server_is_asked_again():
    never = Server("--waiting", "0")
    try:
        with pytest.raises(openai.RateLimitError) as refusal:
            ask(client_of(never, max_retries=1))
        assert refusal.value.response.headers["retry-after"] == "1"
        assert refusal.value.code == "rate_limit_exceeded"
        assert refused(never) == 2, "asked once more"
    finally:
        never.kill()
    # Those that are refused at first get their answers in the end.
    crowded = Server("--rows", "1", "--waiting", "2")
    try:
        patient = client_of(crowded, max_retries=100)
        with ThreadPoolExecutor(24) as pool:
            answers = pool.map(lambda _: ask(patient), range(24))
            assert all(len(titles(answer.choices[0].message.content)) == 5 for answer in answers)
    finally:
        crowded.kill()


def ask(client):
    return client.chat.completions.create(model="tiny", messages=ASKED)


def refused(server):
    lines = re.findall(r'convrec_requests_total\{.*status="429".*\} (\d+)', server.get("/metrics"))
    return sum(map(int, lines))


def test_langchain(server):
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="tiny", temperature=0, base_url=server.url + "/v1", api_key="none")
    question = [("system", "Be brief."), ("human", "I loved Heat (1995).")]
    names = titles(model.invoke(question).content)
    assert len(set(names)) == 5 and "Heat (1995)" not in names
    assert titles("".join(part.content for part in model.stream(question))) == names
    films = model.with_structured_output(Films).invoke(question).films
    assert [f"{film.title} ({film.year})" for film in films] == names
