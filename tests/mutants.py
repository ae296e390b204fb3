"""What `make mutants` found: for each module the mutants, and how many of them tests noticed."""

import json
from pathlib import Path

NOTICED = (1, 3, 36, 24, 152, -24)  # exit codes of mutmut: a test failed, or took far too long


def main():
    print(f"{'module':32}{'mutants':>9}{'noticed':>9}{'share':>9}")
    codes = {}
    for path in sorted(Path("mutants/paragon").rglob("*.meta")):
        name = "/".join(path.with_suffix("").parts[2:])
        codes[name] = list(json.loads(path.read_text())["exit_code_by_key"].values())
    for name, own in (codes | {"all": sum(codes.values(), [])}).items():
        if own:
            noticed = sum(code in NOTICED for code in own)
            print(f"{name:32}{len(own):9}{noticed:9}{noticed / len(own):9.1%}")


if __name__ == "__main__":
    main()
