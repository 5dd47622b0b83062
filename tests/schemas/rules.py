"""Evaluates the rules in CEL of custom resources: `rules.py SCHEMAS MANIFESTS` prints what they say of each manifest.

MANIFESTS is a list in JSON. Defaults are put in first, as a cluster does.
"""

import json
import pathlib
import sys

import celpy

ENVIRONMENT = celpy.Environment()

said = {"evaluated": 0, "violated": [], "not_understood": []}


def put_defaults(schema, value):
    if isinstance(value, dict):
        for name, member in schema.get("properties", {}).items():
            if name not in value and "default" in member:
                value[name] = member["default"]
            if name in value:
                put_defaults(member, value[name])
    elif isinstance(value, list):
        for item in value:
            put_defaults(schema.get("items", {}), item)


def evaluate(rule, value, place):
    # An earlier version that there is not, and functions that only Kubernetes has.
    if "oldSelf" in rule["rule"] or "isURL(" in rule["rule"]:
        return
    try:
        program = ENVIRONMENT.program(ENVIRONMENT.compile(rule["rule"]))
        holds = program.evaluate({"self": celpy.json_to_cel(value)})
    except (celpy.CELEvalError, celpy.CELParseError) as error:
        said["not_understood"].append(f"{place}: {rule['rule']}: {error}")
        return
    said["evaluated"] += 1
    if not holds:
        said["violated"].append(f"{place}: {rule.get('message', rule['rule'])}")


def walk(schema, value, place):
    for rule in schema.get("x-kubernetes-validations", []):
        evaluate(rule, value, place)
    if isinstance(value, dict):
        others = schema.get("additionalProperties")
        for name, member in value.items():
            of_member = schema.get("properties", {}).get(name, others)
            if isinstance(of_member, dict):
                walk(of_member, member, f"{place}/{name}")
    elif isinstance(value, list):
        for at, item in enumerate(value):
            walk(schema.get("items", {}), item, f"{place}/{at}")


def main(folder, manifests):
    files = [json.loads(file.read_text()) for file in pathlib.Path(folder).glob("*.json")]
    schemas = {(f"{of['group']}/{of['version']}", of["kind"]): of["schema"] for of in files}
    for manifest in json.loads(pathlib.Path(manifests).read_text()):
        schema = schemas.get((manifest["apiVersion"], manifest["kind"]))
        if schema:
            put_defaults(schema, manifest)
            walk(schema, manifest, manifest["kind"])
    print(json.dumps(said))


main(*sys.argv[1:])
