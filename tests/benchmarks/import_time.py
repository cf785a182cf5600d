"""How long `import tinyopt` takes beside `import numpy`: python tests/benchmarks/import_time.py

Fresh processes in turn, seconds of processor time, median of the ratios. To hold: 1.3 or less.
"""

import statistics
import subprocess
import sys

ROUNDS = 15
CODE = "import time; start = time.process_time(); import {}; print(time.process_time() - start)"


def seconds(module):
    answer = subprocess.run([sys.executable, "-c", CODE.format(module)], capture_output=True, text=True, check=True)
    return float(answer.stdout)


def main():
    seconds("tinyopt")  # fills the caches
    pairs = [(seconds("tinyopt"), seconds("numpy")) for _ in range(ROUNDS)]
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"import numpy {1000 * statistics.median(b for _, b in pairs):.0f} ms, import tinyopt {ratio:.2f} times that")
    return ratio


if __name__ == "__main__":
    sys.exit(main() > 1.3)
