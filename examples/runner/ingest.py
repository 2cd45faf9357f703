"""The job of the example: says what it would read, and ends well."""

import os
import sys

attempt = os.environ.get("RUNNER_ATTEMPT", "1")
print(f"attempt {attempt}: reading what {os.path.basename(sys.argv[1])} says, for {os.environ.get('RUNNER_TENANT_ID')}")
