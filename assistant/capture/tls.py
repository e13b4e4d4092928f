"""Whether the other end of an https, rtmps or rtsps address is who it says it is. Runs in the capture child.

libav checks no certificate unless it is told to, and says nothing of why one was refused. So one is looked at first, in
a connection of its own, by the rules of this machine; then libav is told to check, too.
"""

from __future__ import annotations

import os
import socket
import ssl
from urllib.parse import urlsplit

PORTS = {"https": 443, "rtmps": 443, "rtsps": 322}


def is_encrypted(address: str) -> bool:
    """Whether an address begins with one of the schemes that bring a certificate."""
    return urlsplit(address).scheme in PORTS


def check_certificate(address: str, timeout_s: float) -> str:
    """What is wrong with the certificate, in a few words; "" if nothing is, or it could not be asked for."""
    parts = urlsplit(address)
    try:
        host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        with (
            socket.create_connection((host, port), timeout_s) as line,
            ssl.create_default_context().wrap_socket(line, server_hostname=host),
        ):
            return ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except (OSError, ValueError):  # libav will find the same, and say so
        return ""


def options() -> dict[str, str]:
    """For libav: check, by the certificates that Python trusts."""
    paths = ssl.get_default_verify_paths()
    trusted = os.environ.get("SSL_CERT_FILE") or paths.cafile
    if trusted is None:
        import certifi

        trusted = certifi.where()
    return {"tls_verify": "1", "ca_file": trusted}
