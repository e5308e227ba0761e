"""Validates each line of a file against a JSON schema; prints what is wrong and exits 1."""
import json
import sys

import jsonschema

schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
count = wrong = 0
for line in open(sys.argv[2], encoding="utf-8"):
    count += 1
    for error in validator.iter_errors(json.loads(line)):
        wrong += 1
        print(count, list(error.absolute_path), error.message)
print(count, "lines,", wrong, "errors")
sys.exit(1 if wrong or not count else 0)
