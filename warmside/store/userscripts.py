"""Lua scripts on the known users in Redis. Each is one atomic step.

Two keys: the sorted set ``users``, and the hash ``users-state``. A member of the set is a bare JID, and its score is
2 * version, or 2 * version + 1 for a removed user. Versions are unique and grow: each is higher than all before it in
this Redis, and at least Redis's time in microseconds. So versions also grow from one Redis to its successor.

Fields of the hash:

- ``epoch``: random; a Redis without it has lost all, and gets another one.
- ``instance``: ``run_id`` and ``master_replid``. A change means that the last writes may be lost.
- ``version``: the highest version.
- ``since``: Redis's time, as a version, when it was last found without its content or its last writes.
- ``bound``: new versions are higher. A machine that reads all users reads up to it, and apart from that after it.
- ``events``: number of the last event. A field with that number holds ``KIND:VERSION:TOKEN``; the last `MAX_EVENTS`
  are kept. ``lost``: all writes up to this version are there, later ones may be lost. ``merged``: rows from this
  version on were added out of order.
"""

from warmside.store.redisclient import Script

MAX_EVENTS = 1000

PRELUDE = f"""
local users, state = KEYS[1], KEYS[2]
local channel, token, floor = ARGV[1], ARGV[2], tonumber(ARGV[3])
local function text(number) return string.format('%.0f', number) end
local function info(section, field)
    return string.match(redis.call('INFO', section), field .. ':(%w+)')
end
local instance = info('server', 'run_id') .. info('replication', 'master_replid')
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local found = redis.call('HMGET', state, 'epoch', 'instance', 'version', 'events', 'since', 'bound')
local epoch, version, events = found[1], tonumber(found[3] or 0), tonumber(found[4] or 0)
local since, bound = tonumber(found[5] or 0), tonumber(found[6] or 0)
local function start()
    since = math.max(version, now)
    redis.call('HSET', state, 'instance', instance, 'since', text(since))
end
local function event(kind, low)
    events = events + 1
    redis.call('HSET', state, 'events', text(events), text(events), kind .. ':' .. text(low) .. ':' .. token)
    redis.call('HDEL', state, text(events - {MAX_EVENTS}))
end
if not epoch or (version > 0 and redis.call('EXISTS', users) == 0) then
    epoch, version, events, bound = token, 0, 0, 0
    redis.call('DEL', state)
    redis.call('HSET', state, 'epoch', epoch)
    start()
elseif found[2] ~= instance then
    start()
    event('lost', version)
end
local function begin() version = math.max(version, now, since, bound, floor) end
local function put(jid, removed)
    version = version + 1
    local score = text(2 * version + removed)
    redis.call('ZADD', users, score, jid)
    return score
end
local function finish()
    redis.call('HSET', state, 'version', text(version))
    redis.call('PUBLISH', channel, 'changed')
end
local function removed(score) return tonumber(score) % 2 == 1 end
"""
"""Arguments: the channel, a random token, a version below all new ones."""

ANNOUNCE = Script(
    PRELUDE
    + """
begin()
local added, changed, scores = 0, false, {}
for i = 4, #ARGV do
    local score = redis.call('ZSCORE', users, ARGV[i])
    local new = not score or removed(score)
    if new then added = added + 1 end
    if new or tonumber(score) / 2 <= since then
        score = put(ARGV[i], 0)
        changed = true
    end
    scores[i - 3] = score
end
if changed then finish() end
return {added, table.concat(scores, '\\n')}
"""
)
"""Further arguments: JIDs. Returns how many were new, and the scores.

A known user keeps the version, unless Redis has lost writes since. Then the user gets a new version, so that a lost
removal is older than this announcement when a machine brings it back.
"""

FORGET = Script(
    PRELUDE
    + """
begin()
local stored, scores = 0, {}
for i = 4, #ARGV do
    local score = redis.call('ZSCORE', users, ARGV[i])
    if score and not removed(score) then stored = 1 end
    scores[i - 3] = put(ARGV[i], 1)
end
finish()
return {stored, table.concat(scores, '\\n')}
"""
)
"""Further arguments: JIDs. Returns 1 if one of them was known, and the scores.

A JID that was not known gets a new version, too: so this removal is newer than a pending announcement of any machine.
"""

REMEMBER = Script(
    PRELUDE
    + """
begin()
local scores = {}
for i = 4, #ARGV, 2 do version = math.max(version, tonumber(ARGV[i + 1])) end
for i = 4, #ARGV, 2 do
    local score = redis.call('ZSCORE', users, ARGV[i])
    if not score or math.floor(tonumber(score) / 2) <= tonumber(ARGV[i + 1]) then score = put(ARGV[i], 0) end
    scores[#scores + 1] = score
end
finish()
return {#scores, table.concat(scores, '\\n')}
"""
)
"""Further arguments: JIDs, each followed by the version that its machine knew when the user became known there.

A newer version stays, also a removal. Returns the scores.
"""

MERGE = Script(
    PRELUDE
    + """
local low
for i = 4, #ARGV, 2 do
    local score, old = tonumber(ARGV[i + 1]), redis.call('ZSCORE', users, ARGV[i])
    if not old or tonumber(old) < score then
        redis.call('ZADD', users, ARGV[i + 1], ARGV[i])
        local mine = math.floor(score / 2)
        low = math.min(low or mine, mine)
        version = math.max(version, mine)
    end
end
if low then
    event('merged', low)
    finish()
end
return 1
"""
)
"""Further arguments: JIDs, each followed by its score in the file of a machine. The higher score stays."""

READ = Script(
    PRELUDE
    + f"""
local known, seen, last, cursor, again, most = ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local function entry(number) return redis.call('HGET', state, text(number)) or '::' end
local newest = string.match(entry(events), '[^:]*$')
local kept = seen <= events and events - seen < {MAX_EVENTS} and string.match(entry(seen), '[^:]*$') == last
if known ~= epoch or not kept then
    begin()
    redis.call('HSET', state, 'bound', text(version))
    return {{epoch, events, newest, 'gone', text(version), ''}}
end
local entries = {{}}
for number = seen + 1, events do entries[#entries + 1] = entry(number) end
local function page(from, to)
    local rows = redis.call('ZRANGEBYSCORE', users, '(' .. from, to, 'WITHSCORES', 'LIMIT', 0, most)
    return table.concat(rows, '\\n')
end
local rest = ''
if again ~= '' then rest = page(again, cursor) end
return {{epoch, events, newest, table.concat(entries, '\\n'), page(cursor, '+inf'), rest}}
"""
)
"""Further arguments, of the machine's `warmside.store.usersfile.Progress`: epoch, number and token of the last event,
cursor, the score from which it reads again or an empty text; then the maximum of rows in a page.

Returns the epoch, the number and the token of the last event, the events since, and two pages. A page has lines: JID,
score, JID, score … If all has to be read, ``gone`` and a version below all new ones replace the events and the page.
"""
