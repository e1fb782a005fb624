#!/bin/sh
# Starts backoffice with an import of the shipped data set under way. The data go to ./demo-data,
# or to the directory in DATA; remove it to begin anew.
set -eu
source=$(cd "$(dirname "$0")" && pwd)
data=${DATA:-./demo-data}
mkdir -p "$data"
(cd "$source" && go build -o backoffice .)
ROW_DELAY=${ROW_DELAY:-20ms} exec "$source/backoffice" -data "$data" -demo "$source/data/unicode.csv" "$@"
