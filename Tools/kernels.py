#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles the GPU's kernels, and holds what they take to the report that the repository keeps.

usage: kernels.py OUTPUT [--update]

OUTPUT becomes machine code for sm_80 and sm_90a, and PTX for GPUs to come, in one file, and
silica-steps.fatbin beside it the same of whole steps as one launch. A kernel that spills registers
to memory, or calls what does, warns, waits for each `wgmma`, or takes more than
CShims/CUDAKernels/resources.txt says is an error; --update writes that report anew.
"""
import pathlib
import re
import subprocess
import sys
import sysconfig

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = ROOT / "CShims/CUDAKernels"
REPORT = SOURCES / "resources.txt"
STEPS = "silica-steps.fatbin"
TARGETS = ["compute_80,code=sm_80", "compute_90a,code=sm_90a", "compute_80,code=compute_80"]
HEADER = f"{'kernel':28}{'target':8}{'registers':>10}{'shared':>8}{'stack':>7}{'spilled':>8}"


def compiler() -> pathlib.Path:
    found = pathlib.Path(sysconfig.get_path("purelib")) / "nvidia/cu13/bin/nvcc"
    if not found.exists():
        sys.exit(f"kernels: {found} is missing; Tools/setup.sh kernels installs it")
    return found


def compile_kernels(source: str, output: pathlib.Path) -> str:
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [str(compiler()), "-fatbin", "-std=c++17", "-O3", "--resource-usage"]
    # The driver unpacks machine code; as it is, it would be eight times as large.
    command += ["--compress-mode=size"]
    command += ["-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra", "--threads", "0"]
    for target in TARGETS:
        command += ["-gencode", f"arch={target}"]
    command += ["-o", str(output), str(SOURCES / source)]
    result = subprocess.run(command, capture_output=True, text=True)
    text = result.stdout + result.stderr
    waits = ["Performance Loss", "wait is injected"]
    if result.returncode != 0 or any(word in text for word in ["warning", *waits]):
        lines = [line for line in text.splitlines()
                 if "ptxas info" not in line or any(word in line for word in waits)]
        sys.exit("kernels: nvcc failed:\n" + "\n".join(lines[:40]))
    return text


def number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found.group(1)) if found else 0


def numbers_of(pattern: str, text: str) -> list[int]:
    return [int(found) for found in re.findall(pattern, text)]


def resources(text: str) -> dict[tuple[str, str], tuple[int, int, int, int]]:
    """Of each kernel, with what it calls, and target: registers, bytes of shared memory, of stack,
    spilled."""
    found = {}
    for part in re.split(r"Compiling entry function ", text)[1:]:
        kernel, target = re.match(r"'(\w+)' for '(\w+)'", part).groups()
        spilled = sum(numbers_of(r"(\d+) bytes spill (?:stores|loads)", part))
        stack = max(numbers_of(r"(\d+) bytes stack frame", part), default=0)
        found[kernel, target] = (
            number(r"Used (\d+) registers", part), number(r"(\d+) bytes smem", part), stack,
            spilled)
    return found


def table(found: dict) -> str:
    lines = [HEADER]
    for (kernel, target), numbers in sorted(found.items()):
        lines.append(f"{kernel:28}{target:8}" + "{:>10}{:>8}{:>7}{:>8}".format(*numbers))
    return "\n".join(lines) + "\n"


def stored() -> dict:
    found = {}
    for line in REPORT.read_text().splitlines()[1:] if REPORT.exists() else []:
        kernel, target, *numbers = line.split()
        found[kernel, target] = tuple(map(int, numbers))
    return found


def main() -> None:
    arguments = [word for word in sys.argv[1:] if word != "--update"]
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.exit(__doc__.split("\n\n")[1])
    output = pathlib.Path(arguments[0])
    found = resources(compile_kernels("all.cu", output))
    found |= resources(compile_kernels("one_launch.cu", output.parent / STEPS))
    problems = [f"{k} for {t} spills {n[3]} bytes" for (k, t), n in found.items() if n[3]]
    if "--update" in sys.argv:
        REPORT.write_text(table(found))
    for key, numbers in found.items():
        known = stored().get(key)
        if known is None or any(now > before for now, before in zip(numbers, known)):
            problems.append(f"{key[0]} for {key[1]} takes {numbers}, the report says {known}")
    if set(stored()) - set(found):
        problems.append(f"the report knows {sorted(set(stored()) - set(found))}")
    if problems:
        sys.exit("kernels: " + "\nkernels: ".join(problems) + "\nkernels: --update accepts this")
    size = output.stat().st_size + (output.parent / STEPS).stat().st_size
    print(f"{output}, {STEPS}: {len(found)} kernels and targets, {size // 1024} KiB; none spills")


if __name__ == "__main__":
    main()
