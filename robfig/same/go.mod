module github.com/errandhq/errand/robfig/same

go 1.26.0

require (
	github.com/errandhq/errand v0.0.0
	github.com/robfig/cron/v3 v3.0.1
)

require github.com/google/uuid v1.6.0 // indirect

replace github.com/errandhq/errand => ../..
