package rediscluster

import (
	"math"
	"testing"
)

func TestDoubleThatIsNoNumberIsNaN(t *testing.T) {
	for _, text := range []string{"nan", "-nan", "nan(0x7)"} {
		number, err := (Value{kind: KindDouble, text: text}).Float()
		if err != nil || !math.IsNaN(number) {
			t.Errorf("%s: %v, %v", text, number, err)
		}
	}
	if _, err := (Value{kind: KindString, text: "nan(0x7)"}).Float(); err == nil {
		t.Error("a text that is no number was read as one")
	}
}
