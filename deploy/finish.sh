#!/bin/sh
# Packages that an image takes: finish.sh FOLDER compiles those in a folder of site-packages, without the tests of some,
# and lists all that there are in sbom.json.
set -e
cd /opt/otel-kfs/lib/python3.*/site-packages
rm -rf pandas/tests numpy/tests numpy/*/tests
/opt/otel-kfs/bin/python -m compileall -q -f --invalidation-mode unchecked-hash "$1"
cyclonedx-py environment --output-reproducible --output-format JSON --output-file /opt/otel-kfs/sbom.json /opt/otel-kfs/bin/python
