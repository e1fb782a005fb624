// Command gen makes the data sets in ../data from public files of the Debian packages unicode-data
// and tzdata:
//
//	apt-get install unicode-data tzdata && go run ./gen
package main

import (
	"bufio"
	"encoding/csv"
	"log"
	"os"
	"strings"
)

func main() {
	log.SetFlags(0)
	convert("/usr/share/unicode/UnicodeData.txt", "data/unicode.csv", ";",
		"code", "name", "category", "combining_class", "bidi_class", "decomposition", "decimal", "digit",
		"numeric", "mirrored", "old_name", "comment", "uppercase", "lowercase", "titlecase")
	convert("/usr/share/zoneinfo/zone.tab", "data/teams.csv", "\t", "country", "coordinates", "name", "comment")
}

// convert writes the lines of a text file, which have fields with a separator, as CSV.
func convert(from, to, separator string, header ...string) {
	in, err := os.Open(from)
	check(err)
	defer in.Close()
	out, err := os.Create(to)
	check(err)
	w := csv.NewWriter(out)
	check(w.Write(header))
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if line := lines.Text(); !strings.HasPrefix(line, "#") {
			fields := strings.Split(line, separator)
			for len(fields) < len(header) { // a last field may be left out
				fields = append(fields, "")
			}
			check(w.Write(fields))
		}
	}
	check(lines.Err())
	w.Flush()
	check(w.Error())
	check(out.Close())
}

func check(err error) {
	if err != nil {
		log.Fatal("gen: ", err)
	}
}
