"""What an audit found: reads its JSON from stdin, ends with 1 over a weakness."""  # noqa: INP001 - a script

import json
import sys

OUT_OF_REACH = "skipped: the database of weaknesses cannot be reached"
KNOWS_NONE = "skipped: the database of weaknesses knows none of the packages here"


def judge(report: str) -> tuple[str, int]:
    """
    What to say, and the exit status.

    No answer about a package is no good news about it; the audit's own status says
    it is.
    """
    if not report.strip():
        return OUT_OF_REACH, 0
    told = json.loads(report)["dependencies"]
    weak = [f"{one['name']}: {hole['id']}" for one in told for hole in _holes(one)]
    unknown = [one["name"] for one in told if "skip_reason" in one]
    if weak or 0 < len(unknown) < len(told):
        lines = [*weak, *(f"{name}: not known to the database" for name in unknown)]
        return "\n".join(lines), 1
    if unknown:
        return KNOWS_NONE, 0
    return f"{len(told)} packages, no known weakness", 0


def _holes(one: dict[str, list[dict[str, str]]]) -> list[dict[str, str]]:
    return one.get("vulns", [])


if __name__ == "__main__":
    words, status = judge(sys.stdin.read())
    sys.stdout.write(f"{words}\n")
    sys.exit(status)
