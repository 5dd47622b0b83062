-- Load for `cargo bench-edge`: one ready-made request per token of a file, sent in turn.
-- Arguments: file, number of threads, position to begin at, least and most delay in ms (both 0: as fast as it goes).

local threads = {}

function setup(thread)
  thread:set("id", #threads)
  table.insert(threads, thread)
end

function init(args)
  local file, count = args[1], tonumber(args[2])
  local low, high = tonumber(args[4]), tonumber(args[5])
  local lines = 0
  local requests = {}
  for token in io.lines(file) do
    -- No two threads send the same token.
    if lines % count == id then
      requests[#requests + 1] = wrk.format("GET", nil, {
        ["accept"] = "application/json",
        ["accept-encoding"] = "gzip, br",
        ["accept-language"] = "en",
        ["authorization"] = "Bearer " .. token,
        ["user-agent"] = "bench-edge/1.0 (load)",
      })
    end
    lines = lines + 1
  end

  position = tonumber(args[3])
  request = function()
    local request = requests[position % #requests + 1]
    position = position + 1
    return request
  end

  if high > 0 then
    math.randomseed(id + 1)
    delay = function() return math.random(low, high) end
  end
end

function done(summary, latency)
  local position = 0
  for _, thread in ipairs(threads) do
    position = math.max(position, thread:get("position"))
  end
  local errors = summary.errors
  io.write(string.format(
    '\nbench-edge {"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"refused":%d,"broken":%d,"position":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, position))
end
