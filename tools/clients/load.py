"""Sixteen clients at once, and clients that misbehave: does every request get the very answer that it gets alone, does nothing get
stuck, does memory stay flat? Usage: load.py URL KEY PID. Only Python's own library is needed. Run by check.sh."""
import http.client, json, random, socket, sys, threading, time
from urllib.parse import urlparse

url, key, pid = sys.argv[1], sys.argv[2], sys.argv[3]
host, port = urlparse(url).hostname, urlparse(url).port
CLIENTS, REQUESTS, DISTINCT, BROKEN = 16, 2000, 200, 1000
HEADERS = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
WORDS = "river stone letter winter garden engine harbour silver music paper mountain kitchen window forest market bridge".split()
draw = random.Random(1)
passed = failed = 0


def check(name, good, found=""):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    print(f"{'ok  ' if good else 'FAIL'}  {name}  {found}", flush=True)


def make_request(i):
    """Mixed in length, law, depth and form; each one's text is settled by its seed."""
    body = {"messages": [{"role": "user", "content": " ".join(draw.choices(WORDS, k=draw.choice((3, 30, 300))))}], "seed": i,
            "temperature": draw.choice((0, 0.7, 1.2)), "max_tokens": draw.choice((1, 8, 32, 96)), "stream": i % 3 == 0,
            "stream_options": {"include_usage": True}}
    if i % 4 == 1:
        body["depth"] = draw.choice((0, 1, 3))
    if i % 5 == 0:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "n", "schema": {
            "type": "object", "properties": {"a": {"type": "string", "maxLength": 20}, "b": {"type": "boolean"}}, "required": ["a", "b"], "additionalProperties": False}}}
    if i % 7 == 0:
        body["presence_penalty"], body["repetition_penalty"] = 0.5, 1.1
    return body


def text_of(raw, stream):
    if not stream:
        choice = json.loads(raw)["choices"][0]
        return choice["message"].get("reasoning_content"), choice["message"]["content"], choice["finish_reason"]
    reasoning, content, finish = "", "", None
    for part in raw.split("\n\n"):
        if part.startswith("data: {"):
            for choice in json.loads(part[6:])["choices"]:
                reasoning += choice["delta"].get("reasoning_content") or ""
                content += choice["delta"].get("content") or ""
                finish = choice["finish_reason"] or finish
    return reasoning or None, content, finish


def ask(connection, body):
    connection.request("POST", "/v1/chat/completions", json.dumps(body), HEADERS)
    reply = connection.getresponse()
    raw = reply.read().decode()
    if reply.status != 200:
        raise RuntimeError(f"{reply.status}: {raw[:300]}")
    return text_of(raw, body["stream"])


def metric(name):
    connection = http.client.HTTPConnection(host, port, timeout=60)
    connection.request("GET", "/metrics", headers=HEADERS)
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return next(float(line.split()[1]) for line in lines if line.startswith(name + " "))


def resident():
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * 4096


def in_threads(n, work):
    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(300)
    return not any(t.is_alive() for t in threads)


def concurrency():
    requests = [make_request(i) for i in range(DISTINCT)]
    connection = http.client.HTTPConnection(host, port, timeout=120)
    alone = [ask(connection, body) for body in requests]
    order = [draw.randrange(DISTINCT) for _ in range(REQUESTS)]
    wrong, lock, sizes = [], threading.Lock(), []

    def client(_):
        own = http.client.HTTPConnection(host, port, timeout=300)
        while True:
            with lock:
                if not order:
                    return
                i = order.pop()
                if len(order) % 200 == 0:
                    sizes.append(resident())
            try:
                got = ask(own, requests[i])
            except Exception as error:
                got = repr(error)
                own = http.client.HTTPConnection(host, port, timeout=300)
            if got != alone[i]:
                with lock:
                    wrong.append((i, got, alone[i]))

    begin = time.time()
    check(f"{CLIENTS} clients: nothing is stuck", in_threads(CLIENTS, client) and not order)
    check(f"{REQUESTS} requests: each text is the one that it gets alone", not wrong, wrong[:2] or f"{time.time() - begin:.0f} s")
    growth = sizes[-1] - sizes[len(sizes) // 2]
    check("memory is flat after warm-up", growth < 16 << 20, f"{growth / 1e6:+.1f} MB over the second half, {sizes[-1] / 1e6:.0f} MB")


def break_off(number):
    """Sends part of a request, or reads part of the answer, and leaves."""
    own = random.Random(number)
    body = json.dumps({"messages": [{"role": "user", "content": "tell me"}], "max_tokens": 200, "stream": own.random() < .7, "temperature": 1}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    whole = head + body
    with socket.create_connection((host, port), timeout=30) as s:
        if own.random() < .4:
            s.sendall(whole[:own.randrange(len(whole))])
        else:
            s.sendall(whole)
            s.recv(own.randrange(1, 4000))
        if own.random() < .3:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # by a reset


def faults():
    before, numbers, lock = resident(), iter(range(BROKEN)), threading.Lock()

    def client(_):
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                break_off(number)
            except OSError:
                pass  # the server may be the first to close

    check(f"{BROKEN} clients that break off: nothing is stuck", in_threads(8, client))
    deadline = time.time() + 30
    while metric("alula_requests_running") + metric("alula_requests_waiting") > 0 and time.time() < deadline:
        time.sleep(0.1)
    check("all of them are forgotten", metric("alula_requests_running") + metric("alula_requests_waiting") == 0)
    growth = resident() - before
    check("memory did not grow with them", growth < 32 << 20, f"{growth / 1e6:+.1f} MB")
    connection = http.client.HTTPConnection(host, port, timeout=60)
    check("the server goes on", ask(connection, make_request(0))[1] is not None)


concurrency()
faults()
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
