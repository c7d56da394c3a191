"""A certificate of localhost, signed by itself, and TLS contexts with it; no tests.

It was made for these tests and protects nothing; it is valid until 2120.
"""

from __future__ import annotations

import ssl
import tempfile

KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgS8sP30cSKNqUp1iM
zYFII5Jwn9PxoXK4GgbnQ9vkyvChRANCAASo54ZH3Hq696NaUgJl4k8D9/YIaKro
sRYtysGezUyr9DIuHa1dKq0yws3sZtRDTSxdxvEl4W8I3tZdeqK44RWy
-----END PRIVATE KEY-----
"""

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBYjCCAQegAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhv
c3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMM
CWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABKjnhkfcerr3o1pS
AmXiTwP39ghoquixFi3KwZ7NTKv0Mi4drV0qrTLCzexm1ENNLF3G8SXhbwje1l16
orjhFbKjSDBGMA8GA1UdEwEB/wQFMAMBAf8wFAYDVR0RBA0wC4IJbG9jYWxob3N0
MB0GA1UdDgQWBBRlVRAqMPXn03Yfoa3lNlcFVF/GujAKBggqhkjOPQQDAgNJADBG
AiEA2gpFqERU6esINnJLXFNrdACr3DvK8QRqOBrVZDl9UzgCIQCBjaVfaaMV+1tQ
tCmsHe2zE3a6dn/ouJWK8ew46dJ2LQ==
-----END CERTIFICATE-----
"""


def server_context() -> ssl.SSLContext:
    """A server that shows the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(KEY + CERTIFICATE)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def client_context(trusting: bool = True) -> ssl.SSLContext:
    """A client that trusts the certificate, or only those of nobody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trusting:
        context.load_verify_locations(cadata=CERTIFICATE)
    return context
