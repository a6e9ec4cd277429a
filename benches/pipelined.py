"""What the service does, roughly, in Python, to compare with: one thread reads and folds the next batch while another
commits the one before. Exactly once in effect: rows and offsets are one transaction, and only new rows are counted.
It checks little, redacts nothing, and keeps neither bad records nor a history of changes."""
import asyncio, json, sys, time
from collections import defaultdict
from datetime import datetime, timezone

import asyncpg, orjson
from asyncpg.pgproto.pgproto import UUID
from confluent_kafka import Consumer, TopicPartition

BATCH, LARGEST = 5_000, 1 << 20
text, optional = lambda v: v.replace("\0", "\ufffd"), lambda v: v and v.replace("\0", "\ufffd")
real = lambda v: v and v + 0.0
integer = lambda v: v and v.to_bytes(8, "big", signed=True) and v  # neither a float, nor too large for a column

def time_of(value):
    at = datetime.fromisoformat(value)
    return at if at.tzinfo else at.replace(tzinfo=timezone.utc)

SHARED = [("session_id", "text", text), ("emitted_at", "timestamptz", time_of), ("entity_id", "uuid", UUID),
          ("correlation_id", "uuid", UUID), ("causation_id", "uuid", UUID), ("task_id", "text", optional),
          ("action_description", "text", optional)]
# Kind: table, its own columns, and the rest of its key.
KINDS = {
    "hook.prompt.submitted": ("prompts_py", [("prompt_id", "uuid", UUID), ("prompt_preview", "text", text),
        ("prompt_length", "bigint", integer), ("detected_intent", "text", optional)], "prompt_id"),
    "hook.tool.executed": ("tool_executions_py", [("tool_execution_id", "uuid", UUID), ("tool_name", "text", text),
        ("success", "boolean", lambda v: v is not False), ("duration_ms", "bigint", integer),
        ("summary", "text", optional)], "tool_execution_id"),
    "hook.session.started": ("starts_py", [("working_directory", "text", text), ("git_branch", "text", optional),
        ("hook_source", "text", text)], "emitted_at, causation_id"),
    "hook.session.ended": ("ends_py", [("reason", "text", text), ("duration_seconds", "float8", real),
        ("tools_used_count", "bigint", integer)], "emitted_at, causation_id"),
}
SESSIONS = """CREATE TABLE IF NOT EXISTS sessions_py (session_id text PRIMARY KEY, events bigint, prompts bigint,
    tools bigint, failures bigint, started_at timestamptz, ended_at timestamptz, first_event_at timestamptz,
    last_event_at timestamptz)"""
OFFSETS = """CREATE TABLE IF NOT EXISTS offsets_py (topic text, partition int, next_offset bigint,
    PRIMARY KEY (topic, partition))"""
UPSERT = """INSERT INTO sessions_py AS s SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[],
    $5::bigint[], $6::timestamptz[], $7::timestamptz[], $8::timestamptz[], $9::timestamptz[])
    ON CONFLICT (session_id) DO UPDATE SET events = s.events + excluded.events,
    prompts = s.prompts + excluded.prompts, tools = s.tools + excluded.tools,
    failures = s.failures + excluded.failures, started_at = least(s.started_at, excluded.started_at),
    ended_at = greatest(s.ended_at, excluded.ended_at), first_event_at = least(s.first_event_at, excluded.first_event_at),
    last_event_at = greatest(s.last_event_at, excluded.last_event_at)"""
MOVE = """INSERT INTO offsets_py SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[])
    ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset"""

def insert(table, columns):
    arrays = ", ".join(f"${n}::{type}[]" for n, (_, type, _) in enumerate(columns, 1))
    return f"INSERT INTO {table} SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING RETURNING session_id, emitted_at" + (
        ", success" if table == "tool_executions_py" else ", true")

def read(consumer, left):
    """A batch: its rows by kind, how far each partition is, and how many records it has."""
    rows, offsets, messages = defaultdict(list), {}, consumer.consume(min(BATCH, left), 1)
    for message in messages:
        offsets[message.topic(), message.partition()] = message.offset() + 1
        try:
            record = orjson.loads(message.value())
            kind = record.get("event_type") or dict(message.headers())["event_type"].decode()
            payload, (_, own, _) = record.get("payload", record), KINDS[kind]
            row = [parse(payload.get(name)) for name, _, parse in SHARED + own]
            if len(message.value()) <= LARGEST:
                rows[kind].append(row)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            continue  # a bad record
    return rows, offsets, len(messages)

async def commit(connection, rows, offsets):
    sessions = {}
    async with connection.transaction():
        for number, (kind, (table, own, _)) in enumerate(KINDS.items()):
            for session, at, good in await connection.fetch(insert(table, SHARED + own), *zip(*rows[kind])) if rows[kind] else ():
                s = sessions.setdefault(session, [session, 0, 0, 0, 0, None, None, at, at])
                s[1], s[7], s[8] = s[1] + 1, min(s[7], at), max(s[8], at)
                if number < 2:
                    s[2 + number], s[4] = s[2 + number] + 1, s[4] + (not good)
                else:
                    s[3 + number] = at
        await connection.execute(UPSERT, *zip(*(sessions[name] for name in sorted(sessions))))
        await connection.execute(MOVE, *zip(*((*place, next) for place, next in offsets.items())))
    return sum(s[1] for s in sessions.values())

async def main(brokers, postgres, schema, topics, partitions, records):
    connection = await asyncpg.connect(postgres, server_settings={"search_path": schema})
    for table, own, key in KINDS.values():
        columns = ", ".join(f"{name} {type}" for name, type, _ in SHARED + own)
        await connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns}, PRIMARY KEY (session_id, {key}))")
    await connection.execute(f"{SESSIONS}; {OFFSETS}")
    stored = {(topic, partition): at for topic, partition, at in await connection.fetch("SELECT * FROM offsets_py")}
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "pipelined", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, stored.get((topic, partition), 0))
                     for topic in topics.split(",") for partition in range(int(partitions))])
    left, events, begun, batch = int(records), 0, None, ({}, {}, 0)
    while left or batch[2]:
        following = asyncio.create_task(asyncio.to_thread(read, consumer, left))
        events += await commit(connection, *batch[:2]) if batch[2] else 0
        batch = await following
        left -= batch[2]
        begun = begun or batch[2] and time.monotonic()
    print(json.dumps({"records": int(records), "seconds": time.monotonic() - begun, "events": events}))

asyncio.run(main(*sys.argv[1:]))
