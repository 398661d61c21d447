"""Says what is wrong with the OpenAPI documents on standard input, a line for each fault."""

import json
import sys

from openapi_spec_validator import OpenAPIV30SpecValidator

for document in json.load(sys.stdin):
    for error in OpenAPIV30SpecValidator(document).iter_errors():
        print("/".join(map(str, error.absolute_path)), error.message)
