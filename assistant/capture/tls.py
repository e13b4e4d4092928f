"""Whether the other end of an https, rtmps or rtsps address is who it says it is. Runs in the capture child.

libav checks no certificate unless it is told to, and says nothing of why one was refused. So one is looked at first, in
a connection of its own, by the rules of this machine; then libav is told to check, too, also where an address leads to
another one. The pieces that a playlist (HLS, DASH) names are fetched by libav without a check, as it hands nothing on.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import urllib.error
import urllib.request
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


def follow(address: str, timeout_s: float) -> str:
    """What is wrong with a certificate on the way that an http or https address leads, as of `check_certificate`."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https"):
        return ""
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    try:
        urllib.request.urlopen(bare, timeout=timeout_s, context=ssl.create_default_context()).close()
    except urllib.error.URLError as error:
        return error.reason.verify_message if isinstance(error.reason, ssl.SSLCertVerificationError) else ""
    except (OSError, ValueError, http.client.HTTPException):
        return ""
    return ""


def options() -> dict[str, str]:
    """For libav: check, by the certificates that Python trusts."""
    paths = ssl.get_default_verify_paths()
    trusted = os.environ.get("SSL_CERT_FILE") or paths.cafile
    if trusted is None:
        import certifi

        trusted = certifi.where()
    return {"tls_verify": "1", "ca_file": trusted}
