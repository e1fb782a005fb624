package errand_test

import (
	"testing"
	"testing/synctest"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/storetest"
)

func TestScenarios(t *testing.T) {
	storetest.Scenarios(t, synctest.Test, func(t *testing.T) errand.Store { return errand.Memory(nil) })
}
