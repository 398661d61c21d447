"""Prints template.yaml as CloudFormation gets it, as JSON: SAM's transformation done on this machine, without AWS.

Parameters stay references and conditions stay conditions, so one result stands for every choice of parameters.
"""

import json
import logging
import sys

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform


class ManagedPolicies:
    """The policies of AWS that SAM names; CloudFormation would ask IAM for their ARNs."""

    def load(self):
        names = ("service-role/AWSLambdaBasicExecutionRole", "AWSXrayWriteOnlyAccess")
        return {name.split("/")[-1]: f"arn:aws:iam::aws:policy/{name}" for name in names}


def main(path, parameters):
    logging.disable(logging.CRITICAL)
    with open(path, encoding="utf-8") as file:
        template = yaml_parse(file.read())
    # What `sam build` and `sam deploy` make of a folder before CloudFormation sees it.
    for resource in template["Resources"].values():
        if "CodeUri" in resource.get("Properties", {}):
            folder = resource["Properties"]["CodeUri"]
            resource["Properties"]["CodeUri"] = {"Bucket": "code", "Key": folder}
    json.dump(transform(template, parameters, ManagedPolicies()), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
