"""`python -m deeplense.model`: fetch the ImageNet weights into the cache, for machines without network."""

from deeplense.errors import run_command
from deeplense.network.model import fetch

if __name__ == "__main__":
    run_command(fetch)
