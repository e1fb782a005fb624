package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

// jobFlags are the flags of a job to be created.
type jobFlags struct {
	pairs                          []string
	queue, id                      string
	priority, maxAttempts, crashes int
	timeout, in, retention         string
	at                             string
	unique, scope, window          string
	uniqueArgs                     bool
	after, tags, metadata          []string
	afterOutcome                   string
}

// addTemplate adds the flags of what a schedule, too, makes jobs from.
func (f *jobFlags) addTemplate(fs *pflag.FlagSet) {
	fs.StringArrayVarP(&f.pairs, "arg", "a", nil, "add one `ARG`: key=text, or key:=JSON; may be repeated")
	fs.StringVar(&f.queue, "queue", "", "`NAME` of the queue (default: the kind's, or default)")
	fs.IntVar(&f.priority, "priority", 0, "`NUMBER`: higher starts first")
	fs.IntVar(&f.maxAttempts, "max-attempts", 0, "`NUMBER` of attempts before it fails for good (default: the kind's, or 20)")
	fs.IntVar(&f.crashes, "max-crashes", 0, "`NUMBER` of lost workers in a row before it fails as poison (default 3)")
	fs.StringVar(&f.timeout, "timeout", "", "how long one run may take, a `DURATION`; 0s: no limit (default: the kind's)")
	fs.StringArrayVar(&f.tags, "tag", nil, "`LABEL` to search by; may be repeated")
	fs.StringArrayVar(&f.metadata, "meta", nil, "metadata `KEY=VALUE`; may be repeated")
	fs.StringVar(&f.retention, "retention", "", "keep it for this `DURATION` once it has ended, or forever")
}

func (f *jobFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	f.addTemplate(fs)
	fs.StringVar(&f.in, "in", "", "start after this `DURATION`: 10m, 2h, 1d")
	fs.StringVar(&f.at, "at", "", "start at this `TIME`: 2026-01-31T15:04:05Z, or local \"2026-01-31 15:04\"")
	fs.StringVar(&f.unique, "unique", "", "create no second job of this kind and `KEY` while the first one has not ended")
	fs.BoolVar(&f.uniqueArgs, "unique-args", false, "the same, with the args as the key")
	fs.StringVar(&f.scope, "unique-scope", "", "how long (`SCOPE`) the key is held: ended (default) or started")
	fs.StringVar(&f.window, "unique-for", "", "hold the key for this `DURATION` from now on, whatever becomes of the job")
	fs.StringArrayVar(&f.after, "after", nil, "wait for the job with this `ID` first; may be repeated")
	fs.StringVar(&f.afterOutcome, "after-outcome", "", "what to do (`WHAT`) if one of these does not succeed: cancel (default), run or pause")
	fs.StringVar(&f.id, "id", "", "the job's id, a `UUID`; creating it twice gives the first one (default: a new one)")
	clientFlags(cmd)
	cmd.ValidArgsFunction = completeKinds
}

const argsHelp = `ARGS is any JSON value, @FILE to read it from a file, or - to read it from stdin. Flags -a add single
values to it: -a name=text, -a count:=3 (JSON).`

func enqueueCommand() *cobra.Command {
	var f jobFlags
	var format string
	var lines bool
	cmd := &cobra.Command{
		Use:   "enqueue KIND [ARGS]",
		Short: "Create a job and return at once",
		Long:  "Enqueue creates a job. When it returns without error the job is stored and will run.\n\n" + argsHelp,
		Example: `  errand enqueue backup -a target=/srv
  errand enqueue resize '{"src": "a.png", "width": 320}' --queue media --priority 5 --in 10m
  errand enqueue import @import.json --unique import --timeout 1h -o id
  jq -c '.[]' all.json | errand enqueue import - --lines`,
		Args: wants(1, 2, "KIND", "ARGS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			p := printer{cmd.OutOrStdout(), format}
			if lines {
				return enqueueLines(cmd, c, p, &f, args)
			}
			job, err := f.enqueue(cmd, c, args)
			if err != nil {
				return err
			}
			return p.print(job, func() *table { return jobTable([]server.Job{job}) })
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&lines, "lines", false, "create a job for each line of ARGS (a file or stdin), all or none for each 1,000")
	addFormat(cmd, &format, "table", "json", "jsonl", "id")
	return cmd
}

// enqueue creates a job and says what is special about the answer.
func (c *client) enqueue(ctx context.Context, n server.NewJob) (server.Job, error) {
	job, err := c.create(ctx, n)
	if err != nil {
		return job, err
	}
	c.remark(n, &job)
	return job, nil
}

func (c *client) remark(n server.NewJob, job *server.Job) {
	switch {
	case job.Duplicate && job.ID == n.ID && n.Unique == nil:
		c.say("job %s was there already (%s): nothing was created", job.ID, job.State)
	case job.Duplicate && job.ID != n.ID:
		c.say("job %s holds the unique key (%s): nothing was created", job.ID, job.State)
	}
	if job.Warning != "" {
		c.say("warning: %s", job.Warning)
	}
}

// enqueue creates the job that the command line describes.
func (f *jobFlags) enqueue(cmd *cobra.Command, c *client, args []string) (server.Job, error) {
	n, err := f.newJob(cmd, args)
	if err != nil {
		return server.Job{}, &usageError{err}
	}
	return c.enqueue(cmd.Context(), n)
}

// newJob makes a job of the flags and arguments.
func (f *jobFlags) newJob(cmd *cobra.Command, args []string) (n server.NewJob, err error) {
	if n, err = f.options(cmd, args[0]); err != nil {
		return n, err
	}
	var raw []byte
	if len(args) > 1 {
		if raw, err = readArgs(cmd.InOrStdin(), args[1]); err != nil {
			return n, err
		}
	}
	n.Args, err = withPairs(raw, f.pairs)
	return n, err
}

// options makes a job of the flags, without args.
func (f *jobFlags) options(cmd *cobra.Command, kind string) (n server.NewJob, err error) {
	n = server.NewJob{
		Kind: kind, Queue: f.queue, MaxAttempts: f.maxAttempts, MaxCrashes: f.crashes,
		AfterOutcome: errand.OnFailure(f.afterOutcome), Tags: f.tags,
	}
	if cmd.Flags().Changed("priority") {
		n.Priority = &f.priority
	}
	if n.ID, err = uuid.NewV7(); f.id != "" {
		n.ID, err = parseID(f.id)
	}
	if err != nil {
		return n, err
	}
	for _, s := range f.after {
		id, err := parseID(s)
		if err != nil {
			return n, fmt.Errorf("--after: %w", err)
		}
		n.After = append(n.After, id)
	}
	for _, s := range f.metadata {
		k, v, ok := strings.Cut(s, "=")
		if !ok || k == "" {
			return n, fmt.Errorf("--meta %q: use key=value", s)
		}
		if n.Metadata == nil {
			n.Metadata = map[string]string{}
		}
		n.Metadata[k] = v
	}
	if err := f.times(&n); err != nil {
		return n, err
	}
	return n, f.uniqueness(&n)
}

func (f *jobFlags) times(n *server.NewJob) error {
	if f.timeout != "" {
		d, err := errand.ParseDuration(f.timeout)
		if err != nil {
			return fmt.Errorf("--timeout %q: %w", f.timeout, err)
		}
		n.Timeout = (*server.Duration)(&d)
	}
	if f.retention != "" {
		if err := (&keepValue{(*time.Duration)(&n.Retention)}).Set(f.retention); err != nil {
			return fmt.Errorf("--retention %q: %w", f.retention, err)
		}
	}
	if f.in != "" && f.at != "" {
		return errors.New("--in and --at: use one of them")
	}
	if f.in != "" {
		d, err := errand.ParseDuration(f.in)
		if err != nil {
			return fmt.Errorf("--in %q: %w", f.in, err)
		}
		n.In = server.Duration(d)
	}
	if f.at != "" {
		t, err := parseTime(f.at)
		if err != nil {
			return fmt.Errorf("--at %q: %w", f.at, err)
		}
		n.At = t.UTC()
	}
	return nil
}

// parseTime reads RFC 3339, or a local time without a zone.
func parseTime(s string) (time.Time, error) { return parseTimeIn(s, time.Local) }

// parseTimeIn reads RFC 3339, or a time without a zone, in a zone.
func parseTimeIn(s string, zone *time.Location) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("use a time such as 2026-01-31T15:04:05Z, or 2026-01-31 15:04")
}

func (f *jobFlags) uniqueness(n *server.NewJob) error {
	switch {
	case f.unique == "" && !f.uniqueArgs:
		if f.scope != "" || f.window != "" {
			return errors.New("--unique-scope and --unique-for need --unique KEY or --unique-args")
		}
		return nil
	case f.unique != "" && f.uniqueArgs:
		return errors.New("--unique and --unique-args: use one of them")
	case f.scope != "" && f.window != "":
		return errors.New("--unique-scope and --unique-for: use one of them")
	}
	u := &server.Unique{Key: f.unique, Scope: errand.Scope(f.scope)}
	if f.window != "" {
		d, err := errand.ParseDuration(f.window)
		if err != nil {
			return fmt.Errorf("--unique-for %q: %w", f.window, err)
		}
		u.Scope, u.Window = errand.UntilTime, server.Duration(d)
	}
	n.Unique = u
	return nil
}

func parseID(s string) (errand.ID, error) {
	id, err := errand.ParseID(s)
	if err != nil {
		return id, fmt.Errorf("%q is no job id: use a UUID such as 0190b0b8-7f3e-7c4e-9d1a-2f6f3c1e5a77", s)
	}
	return id, nil
}

// readArgs reads args: JSON, @FILE, or - for stdin.
func readArgs(stdin io.Reader, s string) (raw []byte, err error) {
	from := "ARGS"
	switch {
	case s == "-":
		from = "stdin"
		raw, err = io.ReadAll(io.LimitReader(stdin, errand.MaxArgs+1))
	case strings.HasPrefix(s, "@"):
		from = s[1:]
		raw, err = os.ReadFile(from)
	default:
		raw = []byte(s)
	}
	switch {
	case err != nil:
		return nil, err
	case len(raw) > errand.MaxArgs:
		return nil, fmt.Errorf("%s: more than %d bytes of args; store the data elsewhere and pass a reference", from, errand.MaxArgs)
	case !json.Valid(raw):
		return nil, fmt.Errorf("%s is not JSON: use something such as '{\"target\": \"/srv\"}' (text needs quotes of its own), or -a target=/srv", from)
	}
	return raw, nil
}

// withPairs adds key=text and key:=JSON to args, which must be an object then.
func withPairs(raw []byte, pairs []string) (json.RawMessage, error) {
	if len(pairs) == 0 {
		return raw, nil
	}
	m := map[string]json.RawMessage{}
	if raw != nil && json.Unmarshal(raw, &m) != nil {
		return nil, errors.New("-a adds to a JSON object, and ARGS is none")
	}
	for _, p := range pairs {
		key, value, ok := strings.Cut(p, "=")
		key, isJSON := strings.CutSuffix(key, ":")
		switch {
		case !ok || key == "":
			return nil, fmt.Errorf("-a %q: use key=text or key:=JSON", p)
		case isJSON && !json.Valid([]byte(value)):
			return nil, fmt.Errorf("-a %q: what follows := is not JSON", p)
		case isJSON:
			m[key] = json.RawMessage(value)
		default:
			m[key], _ = json.Marshal(value)
		}
	}
	return json.Marshal(m)
}
