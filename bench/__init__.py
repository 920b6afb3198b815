"""noded against daprd, on one core, in one run: `python -m bench --daprd PATH`. See README.md."""
