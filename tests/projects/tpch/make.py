"""TPC-H data of a scale factor, made once into a folder; never committed.

python tests/projects/tpch/make.py FOLDER [SCALE]
"""

import subprocess
import sys
from pathlib import Path

TABLES = ("region", "nation", "customer", "orders", "lineitem", "part", "partsupp", "supplier")


def make(folder: Path, scale: float) -> Path:
    """Parquet files of all tables in a folder under `folder`, reused where they are complete."""
    target = folder / f"tpch-{scale:g}"
    if not all((target / f"{table}.parquet").is_file() for table in TABLES):
        target.mkdir(parents=True, exist_ok=True)
        program = Path(sys.executable).with_name("tpchgen-cli")
        subprocess.run(
            [program, "parquet", "-s", f"{scale:g}", "-o", target, "--overwrite"],
            check=True,
            capture_output=True,
        )
    return target


if __name__ == "__main__":
    print(make(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.1))
