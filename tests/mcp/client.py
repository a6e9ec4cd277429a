"""Asks an MCP server by the official SDK, which checks each answer against the schema that the server lists.

    client.py URL             over HTTP; the token is in the environment variable TOKEN, where one is needed
    client.py PROGRAM ARG…    on the standard input and output of a program, with this one's environment

Reads the calls as JSON from standard input, an array of {"name", "arguments", "meta"}, and writes what came of it.
"""

import asyncio
import contextlib
import json
import os
import sys

import httpx2
from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client


@contextlib.asynccontextmanager
async def streams(target):
    if target[0].startswith("http://"):
        token = os.environ.get("TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with httpx2.AsyncClient(headers=headers, timeout=60) as client:
            async with streamable_http_client(target[0], http_client=client) as both:
                yield both
    else:
        server = StdioServerParameters(command=target[0], args=target[1:], env=dict(os.environ))
        async with stdio_client(server) as both:
            yield both


async def ask(target, calls):
    async with streams(target) as (read, write), ClientSession(read, write) as session:
        server = await session.initialize()
        tools = await session.list_tools()
        results = [
            await session.call_tool(call["name"], call.get("arguments", {}), meta=call.get("meta")) for call in calls
        ]
        as_json = lambda model: model.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {
            "server": as_json(server),
            "tools": as_json(tools)["tools"],
            "results": [as_json(result) for result in results],
        }


print(json.dumps(asyncio.run(ask(sys.argv[1:], json.load(sys.stdin)))))
