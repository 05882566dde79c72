#!/usr/bin/env python3
"""alula beside other programs on the same machine, in the same shape, in interleaved rounds: plain decoding, a pass over 4 rows, a
prompt of 512. The others are llama-bench of llama.cpp or of a fork, on a GGUF of random weights in the shape of Qwen3.5-35B-A3B with
so many layers, Q4_0 (4.5 bits a weight, as alula's). One program runs at a time. Needs a quiet machine.

usage: compare_rivals.py --gguf FILE [--layers 40] [--rounds 3] [--tokens 48] [--threads 2] [--keep FILE] NAME=LLAMA_BENCH...
--keep adds the rounds to those of earlier calls in FILE, so that rounds may be far apart; medians are over all of them.

What is not alike: llama-bench gives logits for the last of 4 rows only, alula for all; llama-bench's tokens are random, so rows share
some experts, alula's share none."""
import argparse, json, os, statistics, subprocess, sys, time

p = argparse.ArgumentParser()
p.add_argument("--gguf", required=True)
p.add_argument("--alula", default="build/alula")
p.add_argument("--layers", type=int, default=40)
p.add_argument("--rounds", type=int, default=3)
p.add_argument("--tokens", type=int, default=48)
p.add_argument("--threads", type=int, default=2)
p.add_argument("--keep")
p.add_argument("rivals", nargs="+")
o = p.parse_args()


def run(command):
    r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if r.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit status {r.returncode}\n{r.stderr[-2000:]}")
    return json.loads(r.stdout)


def rival(program):
    with open(o.gguf, "rb") as f:  # into the page cache: its speed is asked for, not the disk's
        while f.read(1 << 24):
            pass
    runs = run([program, "-m", o.gguf, "-p", "4,512", "-n", str(o.tokens), "-r", "1", "-t", str(o.threads), "-o", "json"])
    speed = {(t["n_prompt"], t["n_gen"]): t["avg_ts"] for t in runs}
    return {"build": runs[0]["build_commit"], "plain": speed[0, o.tokens], "four_ms": 4000 / speed[4, 0],
            "prefill": speed[512, 0]}


def own():
    b = run([o.alula, "bench", "--synthetic", "qwen3.5-35b-a3b", "--layers", str(o.layers), "--threads", str(o.threads),
             "--rounds", "1", "--profile", "--json"])  # with --profile it measures these three steps only
    return {"build": b["isa"], "read_gbs": b["read_gbs"], "bytes": b["bytes_per_token"], "plain": b["ar"]["tok_s"],
            "four_ms": next(x["ms"] for x in b["verify"] if x["rows"] == 4),
            "prefill": next(x["tok_s"] for x in b["prefill"] if x["tokens"] == 512)}


def median(rounds, name, key, digits):
    v = [r[name][key] for r in rounds]
    return f"{statistics.median(v):.{digits}f} ({min(v):.{digits}f}..{max(v):.{digits}f})"


rivals = dict(r.split("=", 1) for r in o.rivals)
rounds = []
if o.keep and os.path.exists(o.keep):
    with open(o.keep) as f:
        rounds = [json.loads(line) for line in f]
for i in range(o.rounds):
    r = {name: rival(program) for name, program in rivals.items()}
    r["alula"] = own()
    rounds.append(r)
    if o.keep:
        with open(o.keep, "a") as f:
            f.write(json.dumps(r) + "\n")
read = statistics.median(r["alula"]["read_gbs"] for r in rounds)
print(f"{time.strftime('%Y-%m-%d')}, {o.layers} layers, {o.threads} threads, {len(rounds)} rounds, read limit {read:.1f} GB/s")
print("\n| | plain, tok/s | share of the bound | 4 rows, ms | prefill 512, tok/s |\n|---|---|---|---|---|")
for name in [*rivals, "alula"]:
    share = statistics.median(r[name]["plain"] * r["alula"]["bytes"] / r["alula"]["read_gbs"] / 1e9 for r in rounds)
    print(f"| {name} {rounds[0][name]['build']} | {median(rounds, name, 'plain', 2)} | {share:.2f} | "
          f"{median(rounds, name, 'four_ms', 1)} | {median(rounds, name, 'prefill', 1)} |")
