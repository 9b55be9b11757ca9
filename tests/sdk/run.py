"""The published OpenAI, Anthropic and Google GenAI SDKs against a running gateway.

    PLIMSOLL_URL=http://127.0.0.1:4180 python tests/sdk/run.py [part of a test's name ...]

Environment:
    PLIMSOLL_URL          root of the gateway, in front of the scripted provider
    PLIMSOLL_KEY          credential that the SDKs show (default `sk-test`)
    PLIMSOLL_ADMIN_URL    admin listener; when set, the ledger's tokens are compared with what the SDKs saw
    PLIMSOLL_ADMIN_TOKEN  its token
    PLIMSOLL_DIRECT       root of a scripted provider instead of a gateway: only what needs no gateway runs

The policy behind the gateway gives these tenants their fate: `globex` nothing, `capco` a cap of 600 tokens, `routeco`
cheaper models, `slowco` a throttle of some 30 requests a minute, `blockco` a block. Prints one line per test and at last
`N passed, N failed`; the exit code is 1 when one has failed.
"""

import contextlib
import faulthandler
import functools
import json
import os
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request

import anthropic
import openai
from google import genai
from google.genai import errors, types

DIRECT = os.environ.get("PLIMSOLL_DIRECT")
URL = (DIRECT or os.environ.get("PLIMSOLL_URL", "http://127.0.0.1:4180")).rstrip("/")
KEY = os.environ.get("PLIMSOLL_KEY", "sk-test")
ADMIN = os.environ.get("PLIMSOLL_ADMIN_URL", "").rstrip("/")
ADMIN_TOKEN = os.environ.get("PLIMSOLL_ADMIN_TOKEN", "")
CAP = 600
LONGEST = 300  # seconds for everything: an SDK that waits for ever is a failure
TAG = "digest.weekly"
CLIENTS = []

# ---------------------------------------------------------------------------------------------------- clients


class Count:
    """Requests that an SDK put on the wire, its own retries among them."""

    def __init__(self):
        self.attempts = 0

    def hooks(self):
        return {"request": [self._count]}

    def _count(self, _request):
        self.attempts += 1


def headers(tenant):
    return {"plimsoll-tenant-id": tenant, "plimsoll-endpoint-tag": TAG}


def base(provider):
    return URL if DIRECT else f"{URL}/{provider}"


def openai_client(tenant, count=None, **options):
    http = openai.DefaultHttpxClient(event_hooks=(count or Count()).hooks())
    return openai.OpenAI(
        base_url=base("openai") + "/v1", api_key=KEY, default_headers=headers(tenant), http_client=http, **options
    )


def anthropic_client(tenant, count=None, **options):
    http = anthropic.DefaultHttpxClient(event_hooks=(count or Count()).hooks())
    return anthropic.Anthropic(
        base_url=base("anthropic"), api_key=KEY, default_headers=headers(tenant), http_client=http, **options
    )


def google_client(tenant, count=None):
    options = types.HttpOptions(
        base_url=base("gemini"),
        headers=headers(tenant),
        client_args={"event_hooks": (count or Count()).hooks()},
    )
    client = genai.Client(api_key=KEY, http_options=options)
    # A client that nobody holds closes its connections while a call is on them.
    CLIENTS.append(client)
    return client


def prompt(tokens):
    return f"Write the weekly digest. [[tokens={tokens}]]"


def messages(tokens):
    return [{"role": "user", "content": prompt(tokens)}]


def words(text):
    return len(text.split())


def equal(found, expected, what=""):
    assert found == expected, f"{what or 'value'}: expected {expected!r}, found {found!r}"


def raised(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}, got an answer")


# ---------------------------------------------------------------------------------------------------- normal answers

# What tenant `globex` was told that it used: compared with the ledger by the last test.
USED = {"input": 0, "output": 0, "requests": 0}


def used(input_tokens, output_tokens):
    USED["input"] += input_tokens
    USED["output"] += output_tokens
    USED["requests"] += 1


def known(raw):
    """A gateway says on every answer under which id it is in the ledger."""
    if not DIRECT:
        assert raw.headers["plimsoll-request-id"].startswith("req_"), dict(raw.headers)
        assert "plimsoll-decision" not in raw.headers, raw.headers["plimsoll-decision"]


def normal_openai_chat():
    raw = openai_client("globex").chat.completions.with_raw_response.create(
        model="gpt-4o", messages=messages(40), max_completion_tokens=100
    )
    known(raw)
    answer = raw.parse()
    equal(answer.model, "gpt-4o-2024-08-06")
    equal(answer.choices[0].finish_reason, "stop")
    equal(words(answer.choices[0].message.content), 40)
    equal(answer.usage.completion_tokens, 40)
    used(answer.usage.prompt_tokens, answer.usage.completion_tokens)


def normal_openai_chat_stream():
    stream = openai_client("globex").chat.completions.create(model="gpt-4o", messages=messages(40), stream=True)
    text = ""
    for chunk in stream:
        # Fails with an IndexError when the gateway leaves its own usage chunk in.
        text += chunk.choices[0].delta.content or ""
        assert chunk.usage is None, chunk.usage
    equal(words(text), 40)
    used(input_of_a_chat(), 40)


def normal_openai_chat_stream_with_usage():
    stream = openai_client("globex").chat.completions.create(
        model="gpt-4o", messages=messages(40), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    equal(chunks[-1].choices, [])
    equal(chunks[-1].usage.completion_tokens, 40)
    equal([chunk for chunk in chunks[:-1] if chunk.usage], [])
    used(chunks[-1].usage.prompt_tokens, 40)


@functools.cache
def input_of_a_chat():
    """The input tokens of `messages(40)`, which a stream without usage does not tell its client."""
    answer = openai_client("globex").chat.completions.create(model="gpt-4o", messages=messages(40))
    used(answer.usage.prompt_tokens, answer.usage.completion_tokens)
    return answer.usage.prompt_tokens


def normal_openai_reasoning():
    answer = openai_client("globex").chat.completions.create(
        model="gpt-5-mini", messages=[{"role": "user", "content": "[[tokens=50]] [[reasoning=20]] [[cached=3]]"}]
    )
    equal(answer.usage.completion_tokens_details.reasoning_tokens, 20)
    equal(answer.usage.prompt_tokens_details.cached_tokens, 3)
    equal(words(answer.choices[0].message.content), 30)
    used(answer.usage.prompt_tokens, 50)


def normal_openai_responses():
    raw = openai_client("globex").responses.with_raw_response.create(model="gpt-4o", input=prompt(40))
    known(raw)
    answer = raw.parse()
    equal((answer.status, words(answer.output_text), answer.usage.output_tokens), ("completed", 40, 40))
    used(answer.usage.input_tokens, 40)


def normal_openai_responses_stream():
    with openai_client("globex").responses.stream(model="gpt-4o", input=prompt(40)) as stream:
        deltas = [event for event in stream if event.type == "response.output_text.delta"]
        answer = stream.get_final_response()
    equal(len(deltas), 40)
    equal((answer.status, answer.usage.output_tokens), ("completed", 40))
    used(answer.usage.input_tokens, 40)


def normal_openai_embeddings():
    answer = openai_client("globex").embeddings.create(model="text-embedding-3-small", input=["one text", "another"])
    equal([len(row.embedding) for row in answer.data], [1536, 1536])
    assert all(0 < value < 1 for value in answer.data[0].embedding)
    used(answer.usage.prompt_tokens, 0)


def normal_anthropic_messages():
    raw = anthropic_client("globex").messages.with_raw_response.create(
        model="claude-opus-4-5", max_tokens=100, system="Be brief.", messages=messages(40)
    )
    known(raw)
    answer = raw.parse()
    equal(answer.model, "claude-opus-4-5-20251101")
    equal((answer.stop_reason, words(answer.content[0].text), answer.usage.output_tokens), ("end_turn", 40, 40))
    used(answer.usage.input_tokens, 40)


def normal_anthropic_messages_stream():
    asked = [{"role": "user", "content": "[[tokens=40]] [[cached=4]]"}]
    with anthropic_client("globex").messages.stream(model="claude-haiku-4-5", max_tokens=100, messages=asked) as stream:
        text = "".join(stream.text_stream)
        answer = stream.get_final_message()
    equal((words(text), answer.stop_reason, answer.usage.output_tokens), (40, "end_turn", 40))
    equal(answer.usage.cache_read_input_tokens, 4)
    used(answer.usage.input_tokens + 4, 40)


def normal_anthropic_count_tokens():
    counted = anthropic_client("globex").messages.count_tokens(model="claude-haiku-4-5", messages=messages(40))
    assert counted.input_tokens > 0


def normal_google_generate():
    answer = google_client("globex").models.generate_content(model="gemini-2.5-pro", contents=prompt(40))
    known(answer.sdk_http_response)
    equal(answer.model_version, "gemini-2.5-pro")
    equal((answer.candidates[0].finish_reason.value, words(answer.text)), ("STOP", 40))
    used(answer.usage_metadata.prompt_token_count, answer.usage_metadata.candidates_token_count)


def normal_google_generate_stream():
    chunks = list(google_client("globex").models.generate_content_stream(model="gemini-2.5-pro", contents=prompt(40)))
    equal(words("".join(chunk.text or "" for chunk in chunks)), 40)
    equal(chunks[-1].usage_metadata.candidates_token_count, 40)
    used(chunks[-1].usage_metadata.prompt_token_count, 40)


def normal_google_embeddings():
    answer = google_client("globex").models.embed_content(
        model="gemini-embedding-001", contents="one text", config=types.EmbedContentConfig(output_dimensionality=8)
    )
    equal([len(row.values) for row in answer.embeddings], [8])
    used(2, 0)


def normal_google_count_tokens():
    counted = google_client("globex").models.count_tokens(model="gemini-2.5-pro", contents=prompt(40))
    assert counted.total_tokens > 0


def normal_provider_error_is_passed_through():
    """The provider's own 429 says to come back after a second: the SDKs do, twice."""
    asked = [{"role": "user", "content": "[[status=429]]"}]
    count = Count()
    error = raised(
        openai.RateLimitError,
        lambda: openai_client("errorco", count).chat.completions.create(model="gpt-4o", messages=asked),
    )
    equal((error.code, count.attempts), ("rate_limit_exceeded", 3))
    count = Count()
    error = raised(
        anthropic.RateLimitError,
        lambda: anthropic_client("errorco", count).messages.create(
            model="claude-haiku-4-5", max_tokens=9, messages=asked
        ),
    )
    equal((error.type, count.attempts), ("rate_limit_error", 3))
    count = Count()
    error = raised(
        errors.ClientError,
        lambda: google_client("errorco", count).models.generate_content(model="gemini-2.5-pro", contents="[[status=429]]"),
    )
    equal((error.code, error.status, count.attempts), (429, "RESOURCE_EXHAUSTED", 1))


# ---------------------------------------------------------------------------------------------------- a cap


def capped(raw):
    assert f"cap={CAP}" in raw.headers.get("plimsoll-decision", ""), dict(raw.headers)


def cap_openai_chat():
    for limit in ({"max_tokens": 4000}, {"max_completion_tokens": 4000}, {}):
        raw = openai_client("capco").chat.completions.with_raw_response.create(
            model="gpt-4o", messages=messages(2000), **limit
        )
        capped(raw)
        answer = raw.parse()
        equal((answer.choices[0].finish_reason, answer.usage.completion_tokens), ("length", CAP), str(limit))


def cap_openai_leaves_a_smaller_wish_alone():
    answer = openai_client("capco").chat.completions.create(
        model="gpt-4o", messages=messages(2000), max_completion_tokens=50
    )
    equal((answer.choices[0].finish_reason, answer.usage.completion_tokens), ("length", 50))


def cap_openai_chat_stream():
    stream = openai_client("capco").chat.completions.create(
        model="gpt-4o", messages=messages(2000), max_tokens=4000, stream=True
    )
    chunks = list(stream)
    equal(chunks[-1].choices[0].finish_reason, "length")
    equal(words("".join(chunk.choices[0].delta.content or "" for chunk in chunks)), CAP)


def cap_openai_responses():
    answer = openai_client("capco").responses.create(model="gpt-4o", input=prompt(2000), max_output_tokens=4000)
    equal((answer.status, answer.incomplete_details.reason), ("incomplete", "max_output_tokens"))
    equal(answer.usage.output_tokens, CAP)


def cap_anthropic_messages():
    raw = anthropic_client("capco").messages.with_raw_response.create(
        model="claude-haiku-4-5", max_tokens=4000, messages=messages(2000)
    )
    capped(raw)
    answer = raw.parse()
    equal((answer.stop_reason, answer.usage.output_tokens), ("max_tokens", CAP))


def cap_anthropic_messages_stream():
    client = anthropic_client("capco")
    with client.messages.stream(model="claude-haiku-4-5", max_tokens=4000, messages=messages(2000)) as stream:
        answer = stream.get_final_message()
    equal((answer.stop_reason, answer.usage.output_tokens), ("max_tokens", CAP))


def cap_google_generate():
    for config in ({"max_output_tokens": 4000}, {}):
        answer = google_client("capco").models.generate_content(
            model="gemini-2.5-flash", contents=prompt(2000), config=types.GenerateContentConfig(**config)
        )
        capped(answer.sdk_http_response)
        equal(answer.candidates[0].finish_reason.value, "MAX_TOKENS", str(config))
        equal(answer.usage_metadata.candidates_token_count, CAP, str(config))


def cap_google_generate_stream():
    stream = google_client("capco").models.generate_content_stream(
        model="gemini-2.5-flash",
        contents=prompt(2000),
        config=types.GenerateContentConfig(max_output_tokens=4000),
    )
    last = list(stream)[-1]
    equal(last.candidates[0].finish_reason.value, "MAX_TOKENS")
    equal(last.usage_metadata.candidates_token_count, CAP)


# ---------------------------------------------------------------------------------------------------- a route


def routed(raw, asked, served):
    equal(raw.headers.get("plimsoll-model-requested"), asked, "plimsoll-model-requested")
    equal(raw.headers.get("plimsoll-model-served"), served, "plimsoll-model-served")
    assert "route=" in raw.headers.get("plimsoll-decision", ""), dict(raw.headers)


def route_openai_chat():
    raw = openai_client("routeco").chat.completions.with_raw_response.create(model="gpt-4o", messages=messages(20))
    routed(raw, "gpt-4o", "gpt-4o-mini")
    equal(raw.parse().model, "gpt-4o-mini-2024-07-18")


def route_openai_chat_stream():
    raw = openai_client("routeco").chat.completions.with_raw_response.create(
        model="gpt-4o", messages=messages(20), stream=True
    )
    routed(raw, "gpt-4o", "gpt-4o-mini")
    equal({chunk.model for chunk in raw.parse()}, {"gpt-4o-mini-2024-07-18"})


def route_openai_responses():
    raw = openai_client("routeco").responses.with_raw_response.create(model="gpt-4o", input=prompt(20))
    routed(raw, "gpt-4o", "gpt-4o-mini")
    equal(raw.parse().model, "gpt-4o-mini-2024-07-18")


def route_anthropic_messages():
    raw = anthropic_client("routeco").messages.with_raw_response.create(
        model="claude-opus-4-5", max_tokens=100, messages=messages(20)
    )
    routed(raw, "claude-opus-4-5", "claude-haiku-4-5")
    equal(raw.parse().model, "claude-haiku-4-5-20251001")


def route_google_generate():
    answer = google_client("routeco").models.generate_content(model="gemini-2.5-pro", contents=prompt(20))
    routed(answer.sdk_http_response, "gemini-2.5-pro", "gemini-2.5-flash")
    equal(answer.model_version, "gemini-2.5-flash")


# ---------------------------------------------------------------------------------------------------- a throttle


@contextlib.contextmanager
def rate_used_up():
    """Other callers of the same tenant take every slot as soon as it is free."""
    stop, refused = threading.Event(), threading.Event()
    body = json.dumps({"model": "gpt-4o", "messages": messages(1)}).encode()
    fields = {**headers("slowco"), "content-type": "application/json", "authorization": f"Bearer {KEY}"}

    def take():
        request = urllib.request.Request(base("openai") + "/v1/chat/completions", body, fields)
        while not stop.wait(0.01 if refused.is_set() else 0):
            try:
                urllib.request.urlopen(request, timeout=10).read()
            except urllib.error.HTTPError as error:
                error.read()
                if error.code == 429:
                    refused.set()

    caller = threading.Thread(target=take, daemon=True)
    caller.start()
    try:
        assert refused.wait(30), "tenant `slowco` is never throttled"
        yield
    finally:
        stop.set()
        caller.join(15)


def soon(raw):
    seconds = int(raw.headers["retry-after"])
    assert 1 <= seconds <= 60, seconds
    assert raw.headers.get("x-should-retry") != "false", "a throttle may be retried"


def throttle_openai():
    count = Count()
    with rate_used_up():
        error = raised(
            openai.RateLimitError,
            lambda: openai_client("slowco", count).chat.completions.create(model="gpt-4o", messages=messages(1)),
        )
    equal((error.code, error.type, count.attempts), ("rate_limit_exceeded", "requests", 3))
    soon(error.response)


def throttle_openai_is_over_after_the_wait():
    with rate_used_up():
        pass
    count = Count()
    answer = openai_client("slowco", count).chat.completions.create(model="gpt-4o", messages=messages(1))
    equal(answer.usage.completion_tokens, 1)
    assert count.attempts in (1, 2), f"one refusal at most, found {count.attempts} attempts"


def throttle_anthropic():
    count = Count()
    with rate_used_up():
        error = raised(
            anthropic.RateLimitError,
            lambda: anthropic_client("slowco", count).messages.create(
                model="claude-haiku-4-5", max_tokens=10, messages=messages(1)
            ),
        )
    equal((error.type, count.attempts), ("rate_limit_error", 3))
    soon(error.response)


def throttle_google():
    count = Count()
    with rate_used_up():
        error = raised(
            errors.ClientError,
            lambda: google_client("slowco", count).models.generate_content(
                model="gemini-2.5-flash", contents=prompt(1)
            ),
        )
    equal((error.code, error.status, count.attempts), (429, "RESOURCE_EXHAUSTED", 1))


# ---------------------------------------------------------------------------------------------------- a block


def final(raw):
    equal(raw.headers.get("x-should-retry"), "false", "x-should-retry")
    assert "retry-after" not in raw.headers, raw.headers["retry-after"]
    assert "block" in raw.headers.get("plimsoll-decision", ""), dict(raw.headers)


def block_openai_chat():
    for stream in (False, True):
        count = Count()
        error = raised(
            openai.RateLimitError,
            lambda: openai_client("blockco", count).chat.completions.create(
                model="gpt-4o", messages=messages(20), stream=stream
            ),
        )
        equal((error.code, error.type, count.attempts), ("insufficient_quota", "insufficient_quota", 1))
        equal(error.body["plimsoll"]["retryable"], False)
        assert error.request_id.startswith("req_"), error.request_id
        final(error.response)


def block_openai_responses():
    count = Count()
    error = raised(
        openai.RateLimitError,
        lambda: openai_client("blockco", count).responses.create(model="gpt-4o", input=prompt(20)),
    )
    equal((error.code, count.attempts), ("insufficient_quota", 1))


def block_openai_embeddings():
    count = Count()
    error = raised(
        openai.RateLimitError,
        lambda: openai_client("blockco", count).embeddings.create(model="text-embedding-3-small", input="one text"),
    )
    equal((error.code, count.attempts), ("insufficient_quota", 1))


def block_anthropic_messages():
    count = Count()
    error = raised(
        anthropic.RateLimitError,
        lambda: anthropic_client("blockco", count).messages.create(
            model="claude-haiku-4-5", max_tokens=100, messages=messages(20)
        ),
    )
    equal((error.type, count.attempts), ("rate_limit_error", 1))
    assert error.request_id.startswith("req_"), error.request_id
    final(error.response)


def block_google_generate():
    count = Count()
    error = raised(
        errors.ClientError,
        lambda: google_client("blockco", count).models.generate_content(model="gemini-2.5-flash", contents=prompt(20)),
    )
    equal((error.code, error.status, count.attempts), (429, "RESOURCE_EXHAUSTED", 1))
    reasons = [detail.get("reason") for detail in error.details["error"]["details"]]
    assert "BUDGET_BLOCKED" in reasons, reasons


# ---------------------------------------------------------------------------------------------------- the ledger


def spend(tenant):
    request = urllib.request.Request(
        f"{ADMIN}/api/v1/spend?by=tenantId", headers={"authorization": f"Bearer {ADMIN_TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        rows = json.load(answer)["rows"]
    nothing = {"input_tokens": 0, "output_tokens": 0}
    return next((row for row in rows if row["tenantId"] == tenant), nothing)


def ledger_agrees_with_the_sdks():
    """A finished call is visible within a second."""
    expected = (START["input_tokens"] + USED["input"], START["output_tokens"] + USED["output"])
    for _ in range(20):
        row = spend("globex")
        found = (row["input_tokens"], row["output_tokens"])
        if found == expected:
            return
        time.sleep(0.1)
    equal(found, expected, "input and output tokens of globex")


# ---------------------------------------------------------------------------------------------------- run

START = {"input_tokens": 0, "output_tokens": 0}
GATEWAY_ONLY = ("cap_", "route_", "throttle_", "block_", "ledger_")


def chosen(words_of_names):
    for name, test in list(globals().items()):
        is_test = name.startswith(("normal_", *GATEWAY_ONLY))
        if not is_test or (DIRECT and name.startswith(GATEWAY_ONLY)):
            continue
        if name.startswith("ledger_") and not ADMIN:
            continue
        if not words_of_names or any(word in name for word in words_of_names):
            yield name, test


def main(words_of_names):
    faulthandler.dump_traceback_later(LONGEST, exit=True)
    if ADMIN and not DIRECT:
        START.update(spend("globex"))
    passed = failed = 0
    for name, test in chosen(words_of_names):
        started = time.monotonic()
        try:
            test()
            passed += 1
            print(f"ok    {name} ({time.monotonic() - started:.2f} s)", flush=True)
        except Exception:
            failed += 1
            print(f"FAIL  {name}\n{traceback.format_exc()}", flush=True)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
