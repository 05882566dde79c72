"""Writes random JSON schemas, lets the bundled model answer under each, and asks python-jsonschema whether the answer fits.
Each answer is made twice, by plain decoding and with drafts: the tokens must be the same. An answer that a limit cut is no
JSON; it counts for the comparison alone. Usage: check_schemas.py ALULA COUNT SEED: until COUNT answers were validated."""

import json
import random
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import jsonschema

MODEL = "models/tiny-donor"
PROMPTS = [
    "Give me a record.", "Who wrote Faust?", "List three towns.", "What is 2 + 2?", "Describe a cat as JSON.",
    "In the beginning God created", "int main(void) {", '{"name": ', "<tool_call>", "Wie ist das Wetter in Köln?",
]
WORDS = ["name", "age", "city", "a", "ab", "abc", "größe", "first name", "x/y", 'quo"te', "id", "tags", "value", "kind",
         "next", "list", "price", "日本"]
PATTERNS = ["^[a-z]{1,8}$", "^[A-Z]{2}-\\d{3,5}$", "^(red|green|blue)( light)?$", "^\\+?[0-9 ]{3,9}$", "^\\w{2,6}\\.(c|h)$",
            "^[^\\d\\s]{1,5}$", "^.{0,12}$", "^$|^x+$"]
FORMATS = ["date-time", "date", "time", "email", "uuid", "ipv4", "hostname"]


class Maker:
    def __init__(self, rng):
        self.rng = rng
        self.defs = {}

    def chance(self, p):
        return self.rng.random() < p

    def string(self):
        r, s = self.rng, {"type": "string"}
        kind = r.randrange(5)
        if kind == 0:
            s["pattern"] = r.choice(PATTERNS)
        elif kind == 1:
            s["format"] = r.choice(FORMATS)
        elif kind < 4:
            low = r.choice([0, 0, 1, 5])
            s["maxLength"] = low + r.choice([0, 3, 12, 40])
            if low:
                s["minLength"] = low
        return s

    def number(self):
        r = self.rng
        s = {"type": r.choice(["integer", "number"])}
        low = r.choice([-1000, -12, -0.5, 0, 1, 7, 99.25])
        if self.chance(0.5):
            s[r.choice(["minimum", "exclusiveMinimum"])] = low
        if self.chance(0.5):
            s[r.choice(["maximum", "exclusiveMaximum"])] = low + r.choice([3, 10.5, 1000, 123456789])
        if s["type"] == "integer" and self.chance(0.3):
            s["multipleOf"] = r.choice([1, 3, 2])
        return s

    def constants(self):
        r = self.rng
        values = ["red", "green", "greens", "", 'a"b\\', "ü", 0, -1, 1.5, True, False, None, [1, "x"], {"k": [None]}]
        if self.chance(0.3):
            return {"const": r.choice(values)}
        return {"enum": r.sample(values, r.randrange(1, 6))}

    def object(self, depth):
        r = self.rng
        names = r.sample(WORDS, r.randrange(0, 6))
        s = {"type": "object", "properties": {n: self.schema(depth - 1) for n in names}}
        s["required"] = [n for n in names if self.chance(0.6)]
        kind = r.randrange(4)
        if kind == 0:
            s["additionalProperties"] = self.schema(0)
        elif kind < 3:
            s["additionalProperties"] = False
        return s

    def array(self, depth):
        r = self.rng
        s = {"type": "array", "items": self.schema(depth - 1)}
        low = r.choice([0, 0, 1, 2])
        if low:
            s["minItems"] = low
        if self.chance(0.8):
            s["maxItems"] = low + r.choice([0, 1, 3])
        if self.chance(0.2):
            s["prefixItems"] = [self.schema(depth - 1) for _ in range(r.randrange(1, 3))]
        return s

    def alternatives(self, depth):
        r = self.rng
        kind = r.randrange(4)
        if kind == 0:
            return {"anyOf": [self.schema(depth - 1), {"type": "null"}]}
        if kind == 1:
            return {"oneOf": [{"type": "object", "properties": {"kind": {"const": k}, "v": self.schema(depth - 1)},
                               "required": ["kind", "v"], "additionalProperties": False} for k in ("a", "b")]}
        if kind == 2:
            return {"allOf": [{"type": "object", "properties": {"one": self.schema(depth - 1)}, "required": ["one"]},
                              {"properties": {"two": self.schema(depth - 1)}}]}
        return {"type": r.sample(["string", "integer", "boolean", "null"], 2), "maxLength": 9}

    def reference(self, depth):
        whole = [name for name, tree in self.defs.items() if tree]  # one that requires itself would never end
        if whole and self.chance(0.4):
            return {"$ref": "#/$defs/" + self.rng.choice(whole)}
        name = "d%d" % len(self.defs)
        self.defs[name] = None
        tree = {"type": "object", "properties": {"v": self.schema(depth - 1)}, "required": ["v"]}
        tree["properties"]["next"] = {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/" + name}]}
        self.defs[name] = tree
        return {"$ref": "#/$defs/" + name}

    def schema(self, depth):
        if depth <= 0:
            return self.rng.choice([self.string, self.number, self.constants, lambda: {"type": "boolean"}])()
        make = self.rng.choice([self.object, self.object, self.array, self.alternatives, self.reference,
                                lambda d: self.schema(0)])
        return make(depth)

    def document(self):
        s = self.object(3) if self.chance(0.8) else self.schema(3)
        if self.defs:
            s["$defs"] = self.defs
        return s


def answer(alula, path, prompt, seed, depth):
    args = [alula, "run", MODEL, "--no-think", "--schema", path, "-p", prompt, "-n", "700", "--threads", "1", "--json",
            "--depth", depth]
    if seed:
        args += ["--temp", "1.1", "--seed", str(seed)]
    r = subprocess.run(args, capture_output=True, text=True, timeout=300)
    if r.returncode:
        raise RuntimeError(r.stderr.strip())
    return json.loads(r.stdout)


def check(alula, number, seed):
    """Returns what became of it, and why if it is wrong."""
    rng = random.Random("%d-%d" % (seed, number))
    schema, prompt = Maker(rng).document(), rng.choice(PROMPTS)
    jsonschema.Draft202012Validator.check_schema(schema)
    draw = rng.choice([0, rng.randrange(1, 1000)])
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump(schema, f)
        f.flush()
        try:
            plain, drafted = (answer(alula, f.name, prompt, draw, depth) for depth in ("0", "auto"))
        except RuntimeError as why:
            return "failed", "%s\n%s" % (why, json.dumps(schema)), 0
    free = plain["stats"]["free"]
    if plain["tokens"] != drafted["tokens"] or plain["text"] != drafted["text"]:
        return "differs", "%s\n%s\n%s" % (json.dumps(schema), plain["text"], drafted["text"]), free
    if plain["finish"] != "stop":
        return "cut", None, free
    try:
        value = json.loads(plain["text"])
        jsonschema.validate(value, schema, jsonschema.Draft202012Validator,
                            format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    except (ValueError, jsonschema.ValidationError) as why:
        return "wrong", "%s\n%s\n%s" % (why, json.dumps(schema), plain["text"]), free
    return "fits", None, free


def main():
    alula, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    results = {"fits": 0, "cut": 0, "differs": 0, "wrong": 0, "failed": 0}
    number = free = 0
    with ThreadPoolExecutor(2) as pool:
        while results["fits"] < count and number < 3 * count + 20:
            some = pool.map(lambda n: check(alula, n, seed), range(number, number + 20))
            number += 20
            for what, why, n_free in some:
                results[what] += 1
                free += n_free
                if why:
                    print("%s: %s\n" % (what, why), file=sys.stderr)
    bad = results["differs"] + results["wrong"] + results["failed"]
    print("%d schemas: %d answers fit, %d were cut by the limit (and are the same), %d wrong; %d tokens left no choice"
          % (number, results["fits"], results["cut"], bad, free))
    return 1 if bad or results["fits"] < count else 0


if __name__ == "__main__":
    sys.exit(main())
