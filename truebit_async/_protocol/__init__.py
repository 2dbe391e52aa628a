"""The protocol without I/O: it makes requests and reads responses. It knows neither aiohttp nor asyncio."""
