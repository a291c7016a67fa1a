"""Reads orders from a CSV file and writes a summary as JSON: ``python.wasm /report.py /data/orders.csv``."""

import collections
import csv
import decimal
import hashlib
import json
import os
import sys
import tempfile

totals = collections.defaultdict(decimal.Decimal)
with open(sys.argv[1], newline="") as orders:
    for order in csv.DictReader(orders):
        totals[order["customer"]] += int(order["count"]) * decimal.Decimal(order["price"])

with tempfile.NamedTemporaryFile("w", delete=False) as scratch:
    json.dump({name: str(total) for name, total in sorted(totals.items())}, scratch, indent=2)
os.makedirs("/out/summary")
with open(scratch.name) as draft, open("/out/summary/totals.json", "w") as final:
    final.write(draft.read())
os.unlink(scratch.name)

with open("/out/summary/totals.json", "rb") as final:
    print(hashlib.sha256(final.read()).hexdigest(), "totals.json")
print(f"Python {sys.version.split()[0]}: {len(totals)} customers")
