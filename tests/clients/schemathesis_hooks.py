"""What schemathesis cannot be told in its settings."""
import re

import schemathesis


@schemathesis.hook
def map_headers(context, headers):
    """Drops most sound revisions: none that is made up is the model's, so that nothing but 412 would come."""
    revision = re.fullmatch(r'(?:W/)?"?([0-9]{1,19})"?', str((headers or {}).get("If-Match", "")))
    if revision and int(revision[1]) % 4:
        return {name: value for name, value in headers.items() if name != "If-Match"}
    return headers
