"""What `make mutants` found: for each module the mutants, and how many of them tests noticed."""

import json
from pathlib import Path

NOTICED = (1, 3, 36, 24, 152, -24)  # exit codes of mutmut: a test failed, or took far too long


def main():
    print(f"{'module':32}{'mutants':>9}{'noticed':>9}{'share':>9}")
    total = []
    for path in sorted(Path("mutants/paragon").rglob("*.meta")):
        codes = list(json.loads(path.read_text())["exit_code_by_key"].values())
        if codes:
            total += codes
            show("/".join(path.with_suffix("").parts[2:]), codes)
    show("all", total)


def show(name, codes):
    noticed = sum(code in NOTICED for code in codes)
    print(f"{name:32}{len(codes):9}{noticed:9}{noticed / len(codes):9.1%}")


if __name__ == "__main__":
    main()
