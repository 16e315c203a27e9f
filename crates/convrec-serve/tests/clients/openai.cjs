"use strict";
// OpenAI's own library for JavaScript against a server: node openai.cjs http://127.0.0.1:8000/v1

const assert = require("node:assert/strict");
const { OpenAI } = require("openai");

const messages = [{ role: "user", content: "I loved Heat (1995). Something like it?" }];
const asked = { model: "tiny", messages, temperature: 0 };

async function main(baseURL) {
  const client = new OpenAI({ baseURL, apiKey: "none" });
  const models = await client.models.list();
  assert.deepEqual(models.data.map((model) => model.id), ["tiny"]);

  const whole = await client.chat.completions.create(asked);
  const content = whole.choices[0].message.content;
  assert.match(content, /^1\. .+\n2\. .+\n3\. .+\n4\. .+\n5\. .+$/);
  assert.equal(whole.choices[0].items.length, 5);

  let streamed = "";
  for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
    streamed += chunk.choices[0]?.delta?.content ?? "";
  }
  assert.equal(streamed, content);

  const text = { model: "tiny", prompt: "A list:", max_tokens: 8, seed: 3 };
  const first = await client.completions.create(text);
  const second = await client.completions.create(text);
  assert.equal(first.choices[0].text, second.choices[0].text);

  const schema = {
    type: "object",
    properties: { films: { type: "array", items: { type: "string" } } },
    required: ["films"],
    additionalProperties: false,
  };
  const json_schema = { name: "films", strict: true, schema };
  const response_format = { type: "json_schema", json_schema };
  const structured = await client.chat.completions.create({ ...asked, response_format });
  const { films } = JSON.parse(structured.choices[0].message.content);
  assert.deepEqual(films.map((film, place) => `${place + 1}. ${film}`).join("\n"), content);

  const wrong = client.chat.completions.create({ ...asked, temperature: -1 });
  await assert.rejects(wrong, (error) => error instanceof OpenAI.BadRequestError);
  const other = client.chat.completions.create({ ...asked, model: "gpt" });
  await assert.rejects(other, (error) => error instanceof OpenAI.NotFoundError);
}

main(process.argv[2]);
