#!/usr/bin/env bash
# A walk through the API with curl. PSYNCD_NODE: the node, if it is not the one on this machine.
set -euo pipefail
node=${PSYNCD_NODE:-http://127.0.0.1:7796}
call() { curl --silent --show-error --fail-with-body --location "$@" && echo; }
json='content-type: application/json'

echo '# a value is any bytes; a slash in a key is a slash'
call --request PUT --data-binary 'hello' "$node/v1/keys/docs/greeting"
call "$node/v1/keys/docs/greeting"

echo '# append, and what is known of the entry'
call --request POST --data-binary ', world' "$node/v1/keys/docs/greeting/append"
call --head "$node/v1/keys/docs/greeting"

echo '# only if it is not there: 412, with the version that it has'
call --request PUT --header 'if-none-match: *' --data-binary 'again' "$node/v1/keys/docs/greeting" || echo " -> $?"

echo '# a JSON value, and a patch of it'
call --request PUT --data-binary '{"name":"Ada"}' "$node/v1/keys/user:1"
call --request PATCH --header 'content-type: application/merge-patch+json' --data '{"born":1815}' "$node/v1/keys/user:1"
call --header 'accept: application/json' "$node/v1/keys/user:1"

echo '# a counter'
call --request POST --header "$json" --data '{"by":2}' "$node/v1/keys/visits/increment"

echo '# an entry that expires in a minute, and one that does not any more'
call --request PUT --data-binary 'x' "$node/v1/keys/session:7?ttl=60"
call --request DELETE "$node/v1/keys/session:7/expiry"

echo '# all or nothing'
call --header "$json" "$node/v1/batch" --data '{"ops": [
  {"op": "set", "key": "a", "value": "AP8=", "encoding": "base64"},
  {"op": "increment", "key": "visits", "by": 10},
  {"op": "delete", "key": "session:7"}
]}'

echo '# a page of keys, and the page after it'
call "$node/v1/keys?limit=2"
call --get --data-urlencode 'after=docs/greeting' --data 'limit=2&values=true' "$node/v1/keys"

echo '# everything out as lines, and in again'
curl --silent --show-error --fail "$node/v1/export" | call --data-binary @- --header 'content-type: application/x-ndjson' "$node/v1/import"

echo '# where the node stands, and a hash to compare it with others'
call "$node/v1/digest"

echo '# delete one, and those with a prefix'
call --request DELETE "$node/v1/keys/a"
call --request DELETE "$node/v1/keys?prefix=docs/"
