"""Fakes of the five ports. Each passes the suite of its port on asyncio and on trio."""
