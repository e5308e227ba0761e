"""Validates each line of a file as an OCSF Detection Finding of its own version and profiles; exits 1 if one is not."""
import json
import sys

import jsonschema
from ocsf_json_schema import OcsfJsonSchema, OcsfJsonSchemaEmbedded, get_ocsf_schema

validators = {}
count = wrong = 0
for line in open(sys.argv[1], encoding="utf-8"):
    count += 1
    finding = json.loads(line)
    version, profiles = finding["metadata"]["version"], tuple(finding["metadata"]["profiles"])
    if (version, profiles) not in validators:
        source = OcsfJsonSchemaEmbedded(OcsfJsonSchema(get_ocsf_schema(version=version)))
        schema = source.get_class_schema(source.lookup_class_name_from_uid(finding["class_uid"]), list(profiles))
        validators[version, profiles] = jsonschema.validators.validator_for(schema)(schema)
    for error in validators[version, profiles].iter_errors(finding):
        wrong += 1
        print(count, list(error.absolute_path), error.message[:300])
print(count, "lines,", wrong, "errors")
sys.exit(1 if wrong or not count else 0)
