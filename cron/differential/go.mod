module github.com/errandhq/errand/cron/differential

go 1.26.0

require (
	github.com/adhocore/gronx v1.20.4
	github.com/errandhq/errand v0.0.0
	github.com/robfig/cron/v3 v3.0.1
)

replace github.com/errandhq/errand => ../..
