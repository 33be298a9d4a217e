-- The requests that wrk sends: one method, with random keys like those of workload.ts. Arguments: method, number of keys, value;
-- the variable BENCH_TOKEN: the token that every request shows.
-- At the end it prints a line of JSON to standard output, after wrk's own output.
local head, tail, keys

function init(args)
  keys = tonumber(args[2])
  head = args[1] .. ' /v1/keys/bench:'
  tail = ' HTTP/1.1\r\nHost: localhost\r\n'
  local token = os.getenv('BENCH_TOKEN')
  if token and token ~= '' then
    tail = tail .. 'Authorization: Bearer ' .. token .. '\r\n'
  end
  if args[3] then
    tail = tail .. 'Content-Type: application/octet-stream\r\nContent-Length: ' .. #args[3] .. '\r\n\r\n' .. args[3]
  else
    tail = tail .. '\r\n'
  end
  math.randomseed(os.time())
end

-- Joins strings, because wrk.format would make a table of headers for each request.
function request()
  return head .. string.format('%09d', math.random(0, keys - 1)) .. tail
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"micros":%d,"failed":%d,"cpuSeconds":%f,"p99Micros":%d}\n',
    summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.timeout + errors.status,
    os.clock(), latency:percentile(99)))
end
