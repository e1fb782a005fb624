// Package storetest holds the contract of an [errand.Store] as a test suite.
//
// [Run] goes through the contract sentence by sentence; [Compare] performs random
// operations on a store and on [errand.Memory], the reference, and compares every answer;
// [Faulty] wraps a store in one that fails, delays and loses replies. A store is an errand
// store when it passes the first two:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, open)
//		storetest.Compare(t, open)
//	}
//
// The function open returns an empty store that nobody else uses. It is called once for
// each case, one after the other, and the suite closes the store before it opens the next;
// what else there is to clean up, open leaves to t.Cleanup.
package storetest

import (
	"context"
	"slices"
	"testing"

	"github.com/errandhq/errand"
)

// Run tests the contract of a store, one subtest for each thing that it asks. When one
// fails, the reason why the contract asks it is printed with the failure. With -short the
// few things that take thousands of jobs are left out.
func Run(t *testing.T, open func(t *testing.T) errand.Store) {
	all := cases()
	if testing.Short() {
		all = slices.DeleteFunc(all, func(c testCase) bool {
			return slices.ContainsFunc(largeCases, func(large testCase) bool { return large.name == c.name })
		})
	}
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			store := open(t)
			t.Cleanup(func() {
				if err := store.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				if t.Failed() {
					t.Logf("why the contract asks this: %s", c.why)
				}
			})
			c.run(&fixture{tb: t, store: store})
		})
	}
}

// testCase is one thing that the contract asks.
type testCase struct {
	name string
	why  string // what breaks in a store that does otherwise
	run  func(*fixture)
}

// cases returns the whole contract.
func cases() []testCase {
	return slices.Concat(
		insertCases, getCases, uniqueCases, uniqueTimeCases,
		claimCases, claimRaceCases, wakeCases, pauseCases,
		swapCases, swapRaceCases, swapUniqueCases, entryCases,
		linkCases, linkLifeCases, sessionCases, beatCases, orphanCases, pruneCases,
		listCases, pageCases, statsCases, historyCases, scheduleCases, sizeCases, contextCases, largeCases,
	)
}

// tb is what a case needs of a testing.T. The suite's own test puts a recorder here, to
// see that a case fails on a broken store.
type tb interface {
	Helper()
	Context() context.Context
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}
