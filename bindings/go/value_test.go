package rediscluster

import (
	"math"
	"testing"
)

func textValue(kind Kind, text string) Value {
	return Value{kind: kind, num: int64(len(text)), data: textData([]byte(text))}
}

func TestDoubleThatIsNoNumberIsNaN(t *testing.T) {
	for _, text := range []string{"nan", "-nan", "nan(0x7)"} {
		number, err := textValue(KindDouble, text).Float()
		if err != nil || !math.IsNaN(number) {
			t.Errorf("%s: %v, %v", text, number, err)
		}
	}
	if _, err := textValue(KindString, "nan(0x7)").Float(); err == nil {
		t.Error("a text that is no number was read as one")
	}
}
