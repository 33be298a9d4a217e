#!/usr/bin/env bash
# Calls the API with curl. PSYNCD_NODE names the node; the default is http://127.0.0.1:7796.
set -euo pipefail
node=${PSYNCD_NODE:-http://127.0.0.1:7796}
call() { curl --silent --show-error --fail-with-body --location "$@"; }
json='content-type: application/json'

echo '# a value is any bytes; a slash in a key is a slash'
call --request PUT --data-binary 'hello' "$node/v1/keys/docs/greeting"
call "$node/v1/keys/docs/greeting" && echo

echo '# append, and read the size, version and expiry of the entry'
call --request POST --data-binary ', world' "$node/v1/keys/docs/greeting/append"
call --head "$node/v1/keys/docs/greeting"

echo '# write only if the entry does not exist: it does, so the answer is 412 with its version'
call --request PUT --header 'if-none-match: *' --data-binary 'again' "$node/v1/keys/docs/greeting" || echo " -> $?"

echo '# a JSON value, and a patch that changes it'
call --request PUT --data-binary '{"name":"Ada"}' "$node/v1/keys/user:1"
call --request PATCH --header 'content-type: application/merge-patch+json' --data '{"born":1815}' "$node/v1/keys/user:1"
call --header 'accept: application/json' "$node/v1/keys/user:1" && echo

echo '# a counter'
call --request POST --header "$json" --data '{"by":2}' "$node/v1/keys/visits/increment"

echo '# an entry that expires in a minute, and the request that makes it permanent'
call --request PUT --data-binary 'x' "$node/v1/keys/session:7?ttl=60"
call --request DELETE "$node/v1/keys/session:7/expiry"

echo '# a batch: either all of its operations take place, or none'
call --header "$json" "$node/v1/batch" --data '{"ops": [
  {"op": "set", "key": "a", "value": "AP8=", "encoding": "base64"},
  {"op": "increment", "key": "visits", "by": 10},
  {"op": "delete", "key": "session:7"}
]}'

echo '# a page of keys, and the page after it'
call "$node/v1/keys?limit=2"
call --get --data-urlencode 'after=docs/greeting' --data 'limit=2&values=true' "$node/v1/keys"

echo '# export all entries as lines of JSON, and import them again'
curl --silent --show-error --fail "$node/v1/export" | call --data-binary @- --header 'content-type: application/x-ndjson' "$node/v1/import"

echo '# the position of the node, and a digest to compare it with other nodes'
call "$node/v1/digest"

echo '# delete one entry, and then all entries with a prefix'
call --request DELETE "$node/v1/keys/a"
call --request DELETE "$node/v1/keys?prefix=docs/"
