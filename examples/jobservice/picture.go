package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"log/slog"
	"strconv"
	"time"

	"github.com/errandhq/errand"
)

// object is what a job gets.
type object struct {
	ID int64 `json:"object_id"`
}

// picture is the kind of the jobs. One that fails has failed: only a lost worker's job runs again.
var picture = errand.Define[object, errand.None]("picture", errand.MaxAttempts(1))

// draw draws the picture of an object and stores it.
func (a *app) draw(ctx context.Context, o object) error {
	ctx, cancel := context.WithTimeoutCause(ctx, a.timeout, fmt.Errorf("timeout: the job ran longer than %s", a.timeout))
	defer cancel()
	drawn, err := paint(ctx, o.ID, a.duration)
	if err != nil {
		return err
	}
	run := errand.Current(ctx)
	if err := a.save(ctx, run.Job().ID, run.Token(), drawn); err != nil {
		slog.Error("cannot store a picture; its job runs again in a second", "error", err)
		return errand.Snooze(time.Second) // that is no fault of the job's
	}
	return nil
}

// paint paints an object's own pattern, line after line, in so much time.
func paint(ctx context.Context, id int64, takes time.Duration) ([]byte, error) {
	const lines, size = 8, 32 // pixels
	code := sha256.Sum256(strconv.AppendInt(nil, id, 10))
	ink := color.RGBA{code[0], code[1], code[2], 0xff}
	sheet := image.NewPaletted(image.Rect(0, 0, lines*size, lines*size), color.Palette{color.White, ink})
	for y := range lines {
		select {
		case <-time.After(takes / lines):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		for x := range lines {
			if code[3+y]>>min(x, lines-1-x)&1 == 1 {
				draw.Draw(sheet, image.Rect(x*size, y*size, (x+1)*size, (y+1)*size), image.NewUniform(ink), image.Point{}, draw.Src)
			}
		}
	}
	var file bytes.Buffer
	err := png.Encode(&file, sheet)
	return file.Bytes(), err
}
