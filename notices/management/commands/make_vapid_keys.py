"""Makes the pair of keys of Web Push."""

import base64
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from django.core.management.base import BaseCommand

from notices.keys import public_key


class Command(BaseCommand):
    """Prints a new private key, and its public half."""

    help = "Print a new VAPID_PRIVATE_KEY for the settings, and its public half."

    def handle(self, *_: Any, **__: Any) -> None:
        """Print."""
        number = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
        private = base64.urlsafe_b64encode(number.to_bytes(32)).rstrip(b"=").decode()
        self.stdout.write(f"VAPID_PRIVATE_KEY={private}")
        self.stdout.write(f"# Its public half, which GET /api/v1/notify/push-key/ tells: {public_key(private)}")
