"""What answers bring: content codings, texts and JSON, and the secrets in them; pure, and without a socket.

Small ones are read where they arrive, large ones in the process of `reading`: both by the functions here.
"""

from __future__ import annotations
