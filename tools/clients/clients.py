"""Do the libraries that people use work with alula's server, unchanged? OpenAI's and Anthropic's own, LangChain, and the shapes of
request that command-line tools send. Usage: clients.py URL KEY, run by check.sh against a server with a bundled model, whose text
means little: what counts is the shape of things, that texts repeat, and which exception an error becomes."""
import json, sys, time

import anthropic, httpx, jsonschema, openai
from prometheus_client.parser import text_string_to_metric_families
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from pydantic import TypeAdapter

url, key = sys.argv[1], sys.argv[2]
passed = failed = 0
TOOL = {"name": "get_weather", "description": "Weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
                       "required": ["city", "days"], "additionalProperties": False}}
SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 16}, "age": {"type": "integer", "minimum": 0, "maximum": 120},
                                           "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2}},
          "required": ["name", "age", "tags"], "additionalProperties": False}
HELLO = [{"role": "user", "content": "Say something about the sea."}]
o = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=60)
a = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=60)


def check(name, good, found=""):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    print(f"{'ok  ' if good else 'FAIL'}  {name}  {'' if good else found}", flush=True)


def attempt(name, run):
    try:
        run()
    except Exception as error:
        check(name, False, f"{type(error).__name__}: {error}")


def raises(name, kind, run):
    try:
        run()
        check(name, False, "nothing was raised")
    except kind as error:
        check(name, bool(str(error)))
    except Exception as error:
        check(name, False, f"{type(error).__name__} instead of {kind.__name__}: {error}")


def running():
    text = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {key}"}).text
    return [float(line.split()[1]) for line in text.splitlines() if line.startswith("alula_requests_running")][0]


def openai_chat():
    model = o.models.list().data[0].id
    whole = o.chat.completions.create(model=model, messages=HELLO, max_tokens=24, temperature=0.8, seed=5)
    again = o.chat.completions.create(model=model, messages=HELLO, max_completion_tokens=24, temperature=0.8, seed=5, extra_body={"depth": 0})
    message = whole.choices[0].message
    check("openai: a chat", message.content and whole.usage.completion_tokens <= 24 and whole.usage.total_tokens > whole.usage.completion_tokens, whole)
    check("openai: a seed repeats the text, drafted or not", message.content == again.choices[0].message.content)
    chunks = list(o.chat.completions.create(model=model, messages=HELLO, max_tokens=24, temperature=0.8, seed=5, stream=True, stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    check("openai: a stream is the same text", text == message.content, text)
    check("openai: usage comes last", chunks[-1].usage and not chunks[-1].choices and chunks[-1].usage == whole.usage or chunks[-1].usage.total_tokens == whole.usage.total_tokens)
    check("openai: finish_reason", [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason)
    two = o.chat.completions.create(model=model, messages=HELLO, max_tokens=8, n=2, temperature=1, logprobs=True, top_logprobs=3)
    rows = two.choices[1].logprobs.content
    check("openai: n and logprobs", len(two.choices) == 2 and rows and all(r.logprob <= 0 and len(r.top_logprobs) == 3 for r in rows), two)
    stop = whole.choices[0].message.content[6:9]
    cut = o.chat.completions.create(model=model, messages=HELLO, max_tokens=24, temperature=0.8, seed=5, stop=[stop])
    asked = [{"role": "user", "content": "In the beginning God"}]
    plain = {"temperature": 0, "extra_body": {"enable_thinking": False}}
    text = o.chat.completions.create(model=model, messages=asked, max_tokens=24, **plain).choices[0].message.content
    begun, space, rest = text.partition(" ")
    plain["extra_body"].update(continue_final_message=True, add_generation_prompt=False)
    more = o.chat.completions.create(model=model, messages=asked + [{"role": "assistant", "content": begun}], max_tokens=4, **plain).choices[0].message.content
    check("openai: a begun answer goes on if asked", more and (space + rest).startswith(more), [text, more])
    check("openai: stop", stop not in cut.choices[0].message.content and cut.choices[0].finish_reason == "stop", cut)


def openai_tools():
    tools = [{"type": "function", "function": TOOL}]
    for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
        r = o.chat.completions.create(model="x", messages=HELLO, tools=tools, tool_choice=choice, max_tokens=200, parallel_tool_calls=False)
        call = r.choices[0].message.tool_calls[0]
        jsonschema.validate(json.loads(call.function.arguments), TOOL["parameters"])
        check("openai: a call that was demanded", r.choices[0].finish_reason == "tool_calls" and call.function.name == "get_weather", r)
    back = HELLO + [r.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    r = o.chat.completions.create(model="x", messages=back, tools=tools, max_tokens=8)
    check("openai: its result goes back", r.usage.prompt_tokens > 20, r)
    none = o.chat.completions.create(model="x", messages=HELLO, tools=tools, tool_choice="none", max_tokens=8)
    check("openai: tool_choice none", not none.choices[0].message.tool_calls)
    with o.chat.completions.stream(model="x", messages=HELLO, tools=tools, tool_choice="required", max_tokens=200) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion().choices[0].message.tool_calls
    check("openai: a streamed call", final and "tool_calls.function.arguments.done" in kinds, kinds)


def openai_schema():
    spec = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": SCHEMA}}
    r = o.chat.completions.create(model="x", messages=HELLO, response_format=spec, max_tokens=300, temperature=1, seed=3)
    jsonschema.validate(json.loads(r.choices[0].message.content), SCHEMA)
    plain = o.chat.completions.create(model="x", messages=HELLO, response_format=spec, max_tokens=300, temperature=1, seed=3, extra_body={"depth": 0})
    check("openai: json_schema, drafted and not", r.choices[0].message.content == plain.choices[0].message.content)
    r = o.chat.completions.create(model="x", messages=HELLO, response_format={"type": "json_object"}, max_tokens=400, temperature=1, seed=3)
    check("openai: json_object", r.choices[0].finish_reason == "length" or isinstance(json.loads(r.choices[0].message.content), dict), r)


def openai_schema_and_tools():
    tools = [{"type": "function", "function": TOOL}]
    form = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": SCHEMA}}
    for seed in range(6):
        r = o.chat.completions.create(model="x", messages=HELLO, max_tokens=200, temperature=1, seed=seed, tools=tools, response_format=form)
        choice = r.choices[0]
        calls = choice.message.tool_calls or []
        for call in calls:
            jsonschema.validate(json.loads(call.function.arguments), TOOL["parameters"])
        if not calls and choice.finish_reason == "stop":
            jsonschema.validate(json.loads(choice.message.content), SCHEMA)
        check("openai: a schema beside tools", choice.finish_reason == "length" or bool(calls) != bool(choice.message.content), r)


def openai_others():
    r = o.completions.create(model="x", prompt="Once upon a time", max_tokens=8, logprobs=2, echo=True)
    p = r.choices[0].logprobs
    check("openai: completions with echo and logprobs", r.choices[0].text.startswith("Once upon a time") and p.token_logprobs[0] is None and len(p.tokens) == len(p.text_offset) > 8, r)
    r = o.completions.create(model="x", prompt="Once upon a time", max_tokens=0, logprobs=0, echo=True)
    check("openai: a prompt is scored", all(v < 0 for v in r.choices[0].logprobs.token_logprobs[1:]) and r.usage.completion_tokens == 0, r)
    text = "".join(c.choices[0].text for c in o.completions.create(model="x", prompt="Once upon a time", max_tokens=8, temperature=0, stream=True) if c.choices)
    check("openai: completions as a stream", text == o.completions.create(model="x", prompt="Once upon a time", max_tokens=8, temperature=0).choices[0].text, text)
    r = o.responses.create(model="x", input="Hello", instructions="Be brief.", max_output_tokens=60, temperature=0, reasoning={"effort": "none"})
    check("openai: a response", r.output_text and r.status in ("completed", "incomplete") and r.usage.output_tokens > 0, r)
    with o.responses.stream(model="x", input="Hello", instructions="Be brief.", max_output_tokens=60, temperature=0, reasoning={"effort": "none"}) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        check("openai: a streamed response", text == stream.get_final_response().output_text == r.output_text, text)
    tool = {"type": "function", "strict": True, **TOOL}
    r = o.responses.create(model="x", input="Hello", tools=[tool], tool_choice="required", max_output_tokens=200)
    call = [item for item in r.output if item.type == "function_call"][0]
    jsonschema.validate(json.loads(call.arguments), TOOL["parameters"])
    r = o.responses.create(model="x", tools=[tool], max_output_tokens=8,
                           input=[{"role": "user", "content": "Hello"}, call.model_dump(), {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}])
    check("openai: a response's call and its result", r.output, r)


def openai_errors():
    raises("openai: a wrong key", openai.AuthenticationError, lambda: openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0).models.list())
    raises("openai: a wrong type", openai.BadRequestError, lambda: o.chat.completions.create(model="x", messages=HELLO, extra_body={"top_k": "many"}))
    raises("openai: an image", openai.BadRequestError, lambda: o.chat.completions.create(model="x", messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]))
    raises("openai: what is not there", openai.NotFoundError, lambda: o.embeddings.create(model="x", input="a"))
    raises("openai: a schema keyword that is not supported", openai.BadRequestError, lambda: o.chat.completions.create(
        model="x", messages=HELLO, response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "propertyNames": {"pattern": "a"}}}}))


def abort():
    stream = o.chat.completions.create(model="x", messages=HELLO, max_tokens=4000, temperature=1, stream=True, logit_bias=None)
    next(iter(stream))
    stream.close()
    deadline = time.time() + 10
    while running() > 0 and time.time() < deadline:
        time.sleep(0.05)
    check("openai: an answer that nobody reads any more is dropped", running() == 0, running())


def anthropic_messages():
    r = a.messages.create(model="x", max_tokens=24, system="Be brief.", messages=HELLO, extra_body={"temperature": 0})
    text = r.content[0].text
    check("anthropic: a request's id", r._request_id and r._request_id in r.id, r._request_id)
    check("anthropic: a message", text and r.stop_reason in ("end_turn", "max_tokens") and r.usage.output_tokens > 0, r)
    with a.messages.stream(model="x", max_tokens=24, system="Be brief.", messages=HELLO, extra_body={"temperature": 0}) as stream:
        streamed = "".join(stream.text_stream)
        final = stream.get_final_message()
    check("anthropic: a stream is the same message", streamed == text == final.content[0].text and final.stop_reason == r.stop_reason, streamed)
    count = a.messages.count_tokens(model="x", system="Be brief.", messages=HELLO).input_tokens
    check("anthropic: tokens are counted", count == r.usage.input_tokens + (r.usage.cache_read_input_tokens or 0), count)
    tool = {"name": TOOL["name"], "description": TOOL["description"], "input_schema": TOOL["parameters"]}
    r = a.messages.create(model="x", max_tokens=200, messages=HELLO, tools=[tool], tool_choice={"type": "any"})
    use = [block for block in r.content if block.type == "tool_use"][0]
    jsonschema.validate(use.input, TOOL["parameters"])
    check("anthropic: a call that was demanded", r.stop_reason == "tool_use", r)
    back = HELLO + [{"role": "assistant", "content": r.content}, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}]}]
    check("anthropic: its result goes back", a.messages.create(model="x", max_tokens=8, messages=back, tools=[tool]).usage.output_tokens > 0)
    with a.messages.stream(model="x", max_tokens=200, messages=HELLO, tools=[tool], tool_choice={"type": "tool", "name": "get_weather"}) as stream:
        final = stream.get_final_message()
    jsonschema.validate([block for block in final.content if block.type == "tool_use"][0].input, TOOL["parameters"])
    check("anthropic: a streamed call", final.stop_reason == "tool_use", final)
    asked = [{"role": "user", "content": "In the beginning God"}]
    whole = a.messages.create(model="x", max_tokens=24, messages=asked, extra_body={"temperature": 0}).content[0].text
    begun, space, rest = whole.partition(" ")
    more = a.messages.create(model="x", max_tokens=4, messages=asked + [{"role": "assistant", "content": begun}], extra_body={"temperature": 0}).content[0].text
    check("anthropic: a begun answer goes on", more and (space + rest).startswith(more), [whole, more])
    spelled = [a.messages.count_tokens(model="x", messages=[{"role": "user", "content": text}]).input_tokens for text in ("a", "<|im_end|>")]
    check("anthropic: a control token in a message is text", spelled[1] > spelled[0] + 2, spelled)
    raises("anthropic: a wrong key", anthropic.AuthenticationError, lambda: anthropic.Anthropic(base_url=url, api_key="wrong", max_retries=0).messages.create(model="x", max_tokens=1, messages=HELLO))
    raises("anthropic: a wrong role", anthropic.BadRequestError, lambda: a.messages.create(model="x", max_tokens=1, messages=[{"role": "king", "content": "x"}]))


def agents():
    """Ten turns of calls and results: each prompt begins with all that was read and said before, and none of it is read again."""
    talk, told, reread = [{"role": "user", "content": "Go to work."}], 0, []
    for turn in range(10):
        r = o.chat.completions.create(model="x", messages=talk, tools=[{"type": "function", "function": TOOL}], tool_choice="required", max_tokens=300, seed=turn)
        reread.append(told - r.usage.prompt_tokens_details.cached_tokens)
        told = r.usage.total_tokens
        talk.append(r.choices[0].message.model_dump(exclude_none=True))
        talk += [{"role": "tool", "tool_call_id": call.id, "content": f"sunny {turn}"} for call in r.choices[0].message.tool_calls]
    check("openai: an agent's turns are read once", all(n <= 0 for n in reread), reread)
    tool = {"name": TOOL["name"], "description": TOOL["description"], "input_schema": TOOL["parameters"]}
    talk, told, reread = [{"role": "user", "content": "To work, then."}], 0, []
    for turn in range(10):
        r = a.messages.create(model="x", max_tokens=300, messages=talk, tools=[tool], tool_choice={"type": "any"}, thinking={"type": "enabled", "budget_tokens": 1024})
        reread.append(told - r.usage.cache_read_input_tokens)
        told = r.usage.input_tokens + r.usage.cache_read_input_tokens + r.usage.output_tokens
        results = [{"type": "tool_result", "tool_use_id": b.id, "content": f"sunny {turn}"} for b in r.content if b.type == "tool_use"]
        talk += [{"role": "assistant", "content": r.content}, {"role": "user", "content": results}]
    check("anthropic: an agent's turns are read once", all(n <= 0 for n in reread), reread)


def strict_types():
    """The libraries take anything; held strictly against their own types, nothing may be missing or null that is not declared so."""
    chat, messages = {"model": "x", "messages": HELLO, "max_tokens": 24}, {"model": "x", "messages": HELLO, "max_tokens": 24}
    nulls = {k: None for k in ("tools", "tool_choice", "parallel_tool_calls", "metadata", "text", "reasoning", "instructions")}
    whole = [("/v1/chat/completions", {**chat, "logprobs": True, "top_logprobs": 2, "n": 2}, openai.types.chat.ChatCompletion),
             ("/v1/completions", {"model": "x", "prompt": "Once", "logprobs": 0}, openai.types.Completion),
             ("/v1/responses", {"model": "x", "input": "Hello", "max_output_tokens": 24, **nulls}, openai.types.responses.Response),
             ("/v1/messages", {**messages, "thinking": {"type": "enabled", "budget_tokens": 1024}}, anthropic.types.Message)]
    streams = [("/v1/chat/completions", {**chat, "stream_options": {"include_usage": True}}, openai.types.chat.ChatCompletionChunk),
               ("/v1/responses", {"model": "x", "input": "Hello", "max_output_tokens": 24}, openai.types.responses.ResponseStreamEvent),
               ("/v1/messages", messages, anthropic.types.RawMessageStreamEvent)]
    for stream, cases in ((False, whole), (True, streams)):
        for path, body, kind in cases:
            text = httpx.post(f"{url}{path}", json={**body, "stream": stream}, headers={"Authorization": f"Bearer {key}"}, timeout=60).text
            events = [line[6:] for line in text.split("\n") if line.startswith("data: {") and '"type": "ping"' not in line] if stream else [text]
            adapter = TypeAdapter(kind)
            for event in events:
                adapter.validate_json(event, strict=True)
            check(f"strict types: {path}{' as a stream' if stream else ''}", events)


def langchain():
    model = ChatOpenAI(base_url=f"{url}/v1", api_key=key, model="x", temperature=0, max_tokens=24)
    talk = [SystemMessage("Be brief."), HumanMessage("Say something about the sea.")]
    whole = model.invoke(talk)
    check("langchain: invoke", whole.content and whole.usage_metadata["output_tokens"] > 0, whole)
    check("langchain: stream", "".join(chunk.content for chunk in model.stream(talk)) == whole.content)
    calls = model.bind_tools([{"type": "function", "function": TOOL}], tool_choice="required", max_tokens=200).invoke(talk).tool_calls
    jsonschema.validate(calls[0]["args"], TOOL["parameters"])
    check("langchain: bind_tools", calls[0]["name"] == "get_weather")
    person = ChatOpenAI(base_url=f"{url}/v1", api_key=key, model="x", temperature=0, max_tokens=300).with_structured_output({"title": "Person", **SCHEMA}, method="json_schema").invoke(talk)
    jsonschema.validate(person, SCHEMA)
    check("langchain: with_structured_output", True)


def shapes():
    """Bodies as command-line tools send them, with fields that no server knows."""
    bodies = {
        "llm": {"model": "tiny", "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 8},
        "aider": {"model": "openai/tiny", "messages": [{"role": "system", "content": "Act as an expert software developer."}, *HELLO],
                  "temperature": 0, "stream": True, "max_tokens": 8, "extra_headers": {"x": "y"}},
        "agent": {"model": "tiny", "messages": [{"role": "system", "content": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]}, *HELLO],
                  "tools": [{"type": "function", "function": TOOL}], "tool_choice": "auto", "parallel_tool_calls": True, "metadata": {"user_id": "u"},
                  "user": "u", "store": False, "service_tier": "auto", "reasoning_effort": "none", "max_completion_tokens": 8, "stream": True},
    }
    for name, body in bodies.items():
        r = httpx.post(f"{url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=60)
        check(f"the shape of {name}", r.status_code == 200 and r.text.rstrip().endswith("data: [DONE]"), r.text[-300:])
    r = httpx.post(f"{url}/tokenize", json={"content": "Once upon"}, headers={"Authorization": f"Bearer {key}"})
    ids = r.json().get("tokens", [])
    back = httpx.post(f"{url}/detokenize", json={"tokens": ids}, headers={"Authorization": f"Bearer {key}"}).json()
    check("tokenize and back", ids and back.get("content") == "Once upon", back)


def metrics():
    text = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {key}"}).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    check("metrics: each family once, of a known type", len(families) == text.count("# TYPE ") and all(f.type != "unknown" for f in families.values()), sorted(families))
    for name in ("queue_seconds", "first_token_seconds", "between_tokens_seconds", "request_seconds", "request_prompt_tokens"):
        family = families.get(f"alula_{name}")
        rows = family.samples if family else []
        buckets = [(float(s.labels["le"]), s.value) for s in rows if s.name.endswith("_bucket")]
        count = [s.value for s in rows if s.name.endswith("_count")]
        check(f"metrics: {name} is a histogram", rows and family.type == "histogram" and buckets == sorted(buckets) and [n for _, n in buckets] == sorted(n for _, n in buckets)
              and buckets[-1] == (float("inf"), count[0]) and count[0] > 0, rows)


for part in (openai_chat, openai_tools, openai_schema, openai_schema_and_tools, openai_others, openai_errors, abort, anthropic_messages, agents, strict_types, langchain, shapes, metrics):
    attempt(part.__name__, part)
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
