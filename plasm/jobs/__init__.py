"""The way of a job: offer, admission, queue, run, receipt, verification. Knows ports and never a driver."""
