"""Webhooks: what comes to an address is checked by its scheme, read, and handed to SQL, which decides all else.

| module | what |
|---|---|
| `signatures` | whether the raw bytes were sent by somebody who has the secret |
| `payloads` | what a body says: JSON, forms, text, CloudEvents |
| `kept` | which headers and parameters go along |
| `endpoints` | what SQL knows of an address, remembered for a while |
| `journal` | rejections on their way to the log |
| `receiving` | one delivery from its first byte to the answer |
| `routes` | the addresses |
"""
