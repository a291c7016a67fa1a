"""Finds the providers of a boot channel, and says what a provider serves."""

from __future__ import annotations

from plasm_finding.finding import ProviderFound, find_providers
from plasm_finding.info import PROTOCOL, BootInfo, InvalidBootInfo
from plasm_finding.serving import serve_boot_info

__all__ = ["PROTOCOL", "BootInfo", "InvalidBootInfo", "ProviderFound", "find_providers", "serve_boot_info"]
