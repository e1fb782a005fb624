package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/errandhq/errand/server"
)

// fileTables are the tables of the settings file that are no plain settings.
type fileTables struct {
	User     map[string]account           `toml:"user"`
	Token    map[string]account           `toml:"token"`
	Command  map[string]*commandSettings  `toml:"command"`
	Cron     map[string]string            `toml:"cron"`
	Schedule map[string]*scheduleSettings `toml:"schedule"`
}

// tableNames are their names.
var tableNames = []string{"user", "token", "command", "cron", "schedule"}

// fromFile takes the settings of a TOML file. A key that is none is an error.
func (s *settings) fromFile(path string, must bool) error {
	data, err := os.ReadFile(path)
	switch {
	case os.IsNotExist(err) && !must:
		return nil
	case err != nil:
		return &usageError{fmt.Errorf("settings file: %w", err)}
	}
	if err := s.fromTOML(path, string(data)); err != nil {
		return &usageError{err}
	}
	return nil
}

func (s *settings) fromTOML(path, data string) error {
	var tables fileTables
	md, err := toml.Decode(data, &tables)
	if err != nil {
		return tomlError(path, err)
	}
	var values map[string]any
	if _, err := toml.Decode(data, &values); err != nil {
		return tomlError(path, err)
	}
	at := func(key ...string) string { return fmt.Sprintf("%s:%d", path, lineOf(data, key)) }
	for _, key := range md.Undecoded() {
		known, d := findSetting(key)
		switch {
		case len(key) > 3 && key[0] == "schedule" && key[2] == "args":
			continue // whatever they are
		case !known:
			return fmt.Errorf("%s: unknown key %s%s", at(key...), key, suggest(key.String(), possibleKeys(key)))
		case d == nil || d.key != strings.Join(key, "."):
			continue // a table of settings, or a key of a setting that is a table
		}
		text, err := plain(lookup(values, key))
		if err != nil {
			return fmt.Errorf("%s: %s: %w", at(key...), key, err)
		}
		if err := s.set(d, text, at(key...)); err != nil {
			return err
		}
	}
	s.Users, s.Tokens, s.Commands, s.Cron, s.Schedules = tables.User, tables.Token, tables.Command, tables.Cron, tables.Schedule
	for _, key := range md.Keys() {
		if len(key) == 2 && slices.Contains(tableNames, key[0]) {
			s.sources[strings.Join(key, ".")] = at(key...)
		}
	}
	if err := s.checkTables(at); err != nil {
		return err
	}
	return s.checkSchedules(at)
}

// tomlPlace is how the decoder tells the place of an error, and the key before it.
var tomlPlace = regexp.MustCompile(`(?s)^toml: line (\d+)(?: \(last key "(.*?)"\))?: (.*)$`)

// tomlError says what is wrong with the file as we say it elsewhere: path, line, key.
func tomlError(path string, err error) error {
	m := tomlPlace.FindStringSubmatch(err.Error())
	switch {
	case m == nil:
		return fmt.Errorf("%s: %w", path, err)
	case m[2] != "":
		return fmt.Errorf("%s:%s: %s: %s", path, m[1], m[2], m[3])
	}
	return fmt.Errorf("%s:%s: %s", path, m[1], m[3])
}

// findSetting finds the setting that a key is, or is a part of. A nil one is a table of settings.
func findSetting(key toml.Key) (known bool, d *setting) {
	dotted := strings.Join(key, ".")
	for i := range allSettings {
		d := &allSettings[i]
		_, isTable := d.value(&settings{}).(*queuesValue)
		if d.key == dotted || isTable && strings.HasPrefix(dotted, d.key+".") {
			return true, d
		}
		known = known || strings.HasPrefix(d.key, dotted+".")
	}
	return known, nil
}

// possibleKeys are the keys that could stand where an unknown one stands.
func possibleKeys(key toml.Key) []string {
	var keys []string
	var table reflect.Type
	switch {
	case len(key) == 3 && key[0] == "command":
		table = reflect.TypeFor[commandSettings]()
	case len(key) == 3 && key[0] == "schedule":
		table = reflect.TypeFor[scheduleSettings]()
	case len(key) == 3 && (key[0] == "user" || key[0] == "token"):
		table = reflect.TypeFor[account]()
	default:
		for i := range allSettings {
			keys = append(keys, allSettings[i].key)
		}
		return keys
	}
	for f := range table.Fields() {
		if !f.IsExported() {
			continue
		}
		keys = append(keys, toml.Key{key[0], key[1], f.Tag.Get("toml")}.String())
	}
	return keys
}

func lookup(values map[string]any, key toml.Key) any {
	for _, k := range key[:len(key)-1] {
		values, _ = values[k].(map[string]any)
	}
	return values[key[len(key)-1]]
}

// plain is a TOML value as a flag would say it.
func plain(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool, int64:
		return fmt.Sprint(v), nil
	case []any:
		var parts []string
		for _, x := range v {
			s, err := plain(x)
			if err != nil {
				return "", err
			}
			parts = append(parts, s)
		}
		return strings.Join(parts, ","), nil
	case map[string]any:
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			s, err := plain(v[k])
			if err != nil {
				return "", err
			}
			parts = append(parts, k+"="+s)
		}
		return strings.Join(parts, ","), nil
	}
	return "", fmt.Errorf("a %T is no value for a setting", v)
}

// nowhere is a type that no TOML value decodes into: its error tells the line of the key.
type nowhere struct{}

func (*nowhere) UnmarshalTOML(any) error { return errors.New("here") }

// lineOf returns the line of a key in a TOML document, which the decoder knows but tells only
// in errors: so the key is decoded into something that refuses.
func lineOf(data string, key toml.Key) int {
	t := reflect.TypeFor[nowhere]()
	for _, k := range slices.Backward(key) {
		t = reflect.StructOf([]reflect.StructField{{Name: "X", Type: t, Tag: reflect.StructTag("toml:" + strconv.Quote(k))}})
	}
	var pe toml.ParseError
	if _, err := toml.Decode(data, reflect.New(t).Interface()); errors.As(err, &pe) {
		return pe.Position.Line
	}
	return 0
}

// checkTables checks users, tokens and commands; at tells where a key stands.
func (s *settings) checkTables(at func(key ...string) string) error {
	roles := []server.Role{server.Viewer, server.Operator, server.Admin}
	for _, name := range slices.Sorted(maps.Keys(s.Users)) {
		u := s.Users[name]
		switch {
		case !slices.Contains(roles, u.Role):
			return fmt.Errorf("%s: [user.%s] role = %q: use viewer, operator or admin", at("user", name), name, u.Role)
		case !strings.HasPrefix(u.PasswordHash, "$2"):
			return fmt.Errorf("%s: [user.%s] password_hash: use what \"errand token --password\" prints (bcrypt)", at("user", name), name)
		case u.Hash != "":
			return fmt.Errorf("%s: [user.%s] hash is for tokens; a user has a password_hash", at("user", name), name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Tokens)) {
		t := s.Tokens[name]
		switch {
		case !slices.Contains(roles, t.Role):
			return fmt.Errorf("%s: [token.%s] role = %q: use viewer, operator or admin", at("token", name), name, t.Role)
		case len(t.Hash) != 64:
			return fmt.Errorf("%s: [token.%s] hash: use the hash that \"errand token\" prints (64 hexadecimal digits)", at("token", name), name)
		case t.PasswordHash != "":
			return fmt.Errorf("%s: [token.%s] password_hash is for users; a token has a hash", at("token", name), name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Commands)) {
		if err := s.Commands[name].check(name); err != nil {
			return fmt.Errorf("%s: [command.%s] %w", at("command", name), name, err)
		}
	}
	return nil
}
