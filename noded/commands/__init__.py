"""One module per command, or per family of commands; each adds its parser by `add`. `noded/cli.py` lists them."""
