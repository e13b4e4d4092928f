"""A scripted day in front of the camera, with the evening before it, and what its owner asks about it later.

Written before `recall` was tried on it, and not changed to suit it; LATER_QUESTIONS were asked only once that had been
improved on QUESTIONS. Lines: local time, kind (r remark, q query,
a answer, n note), text.
"""

from datetime import datetime, timedelta
from pathlib import Path

from assistant.journal.writer import Journal, JournalLine

YESTERDAY = """
08:05 r You take two pills from the blue box.
08:20 r You cook porridge in the small pot.
12:40 r You eat a cheese sandwich at the desk.
15:10 r You water the fern.
17:45 r You put your car keys in the drawer.
18:30 r You cut onions on the wooden board.
18:42 r You fry onions and mushrooms in the pan.
18:50 r You add salt to the pan.
19:05 r You eat pasta with mushrooms.
19:40 r You load the dishwasher.
20:15 r You watch television on the sofa.
21:50 r You plug your phone into the charger.
22:10 r You lock the front door.
"""

TODAY = """
06:58 r You switch on the kitchen light.
06:59 r You open the curtains.
07:01 r You fill the kettle with water.
07:02 r You put the kettle on its base and switch it on.
07:03 r You reach for the red mug.
07:03 r You pick up the red mug.
07:04 r You put a tea bag in the red mug.
07:06 r You pour hot water into the red mug.
07:07 r You open the fridge.
07:07 r You take the milk out of the fridge.
07:08 r You pour milk into the red mug.
07:08 r You put the milk back in the fridge.
07:09 r You close the fridge.
07:10 r You drink from the red mug.
07:12 r You pick up the frying pan.
07:12 r You put the frying pan on the stove.
07:13 r You turn on the stove.
07:14 r You crack two eggs into the frying pan.
07:15 r You pick up the salt.
07:15 r You sprinkle salt over the eggs.
07:16 r You put down the salt.
07:17 r You stir the eggs with the spatula.
07:18 r You put a slice of bread in the toaster.
07:19 r You turn off the stove.
07:20 r You slide the eggs onto a plate.
07:21 r You take the toast out of the toaster.
07:22 r You spread butter on the toast.
07:23 r You sit down at the kitchen table.
07:24 r You eat the eggs.
07:25 q Is there enough salt on them?
07:25 a You sprinkled salt once.
07:27 r You eat the toast.
07:33 r You put the plate in the sink.
07:34 r You open the blue pill box.
07:34 r You take two pills with water.
07:35 r You close the blue pill box.
07:38 r You rinse the plate under the tap.
07:40 r You wipe the table with a cloth.
07:44 r You brush your teeth at the mirror.
07:49 r You comb your hair.
07:55 r You put on a grey sweater.
08:02 r You sit down at the desk.
08:03 r You open the laptop.
08:04 r You put on your glasses.
08:05 r You type on the keyboard.
08:20 r You read a document on the screen.
08:31 r You write a note on a yellow sticky note.
08:32 r You stick the yellow note to the monitor.
08:40 r You type on the keyboard.
08:55 r You put on the headphones.
09:00 r You talk in a video call with three people.
09:15 r You show a circuit board to the camera.
09:28 r You take off the headphones.
09:30 r You stand up from the desk.
09:31 r You fill a glass with water.
09:32 r You drink from the glass.
09:35 r You water the fern on the window sill.
09:37 r You open the window.
09:40 r You sit down at the desk.
09:41 r You pick up the soldering iron.
09:42 r You plug in the soldering iron.
09:46 r You solder a wire to the circuit board.
09:52 r You look at the circuit board through the magnifier.
09:55 r You solder a capacitor to the circuit board.
10:03 r You put the soldering iron in its stand.
10:04 r You connect the circuit board to the power supply.
10:05 r The green lamp on the circuit board lights up.
10:07 r You measure a voltage with the multimeter.
10:08 n The multimeter shows 3.3 volts.
10:10 r You write a number in the notebook.
10:12 r You unplug the soldering iron.
10:15 r You close the window.
10:20 r You pick up your phone.
10:21 r You talk on the phone.
10:34 r You put your phone next to the printer.
10:36 r You type on the keyboard.
10:50 r You print two pages.
10:51 r You take the pages out of the printer.
10:53 r You sign the pages with a black pen.
10:55 r You put the pages in an envelope.
10:57 r You put a stamp on the envelope.
11:00 r You put the envelope on the shelf by the door.
11:05 r You peel an orange.
11:08 r You eat the orange.
11:10 r You throw the peel in the bin.
11:15 r You type on the keyboard.
11:30 q Where is my phone?
11:30 a You put your phone next to the printer.
11:31 r You pick up your phone from the printer table.
11:32 r You put your phone in your pocket.
11:45 r You close the laptop.
11:50 r You open the fridge.
11:51 r You take tomatoes and a cucumber out of the fridge.
11:52 r You wash the tomatoes.
11:54 r You pick up the big knife.
11:55 r You cut the tomatoes on the wooden board.
11:58 r You cut the cucumber.
12:00 r You put the tomatoes and the cucumber in a bowl.
12:02 r You pour olive oil over the salad.
12:03 r You pick up the salt.
12:03 r You sprinkle salt over the salad.
12:04 r You put down the salt.
12:05 r You grind pepper over the salad.
12:06 r You mix the salad with two spoons.
12:08 r You cut bread.
12:10 r You sit down at the kitchen table.
12:11 r You eat the salad.
12:14 r You eat bread.
12:25 r You read a magazine.
12:32 r You put the bowl in the dishwasher.
12:33 r You put the knife in the dishwasher.
12:35 r You start the dishwasher.
12:38 r You fill the coffee machine with water.
12:39 r You put ground coffee in the filter.
12:40 r You switch on the coffee machine.
12:45 r You pour coffee into the white cup.
12:47 r You drink coffee.
12:55 r You take your jacket from the hook.
12:56 r You take your keys from the hook.
12:57 r You pick up the envelope from the shelf by the door.
12:58 r You leave the room.
13:41 r You come back into the room.
13:42 r You hang your jacket on the hook.
13:43 r You put your keys in the wooden bowl by the door.
13:44 r You put a parcel on the desk.
13:46 r You open the parcel with scissors.
13:48 r You take a small camera out of the parcel.
13:50 r You put the scissors in the top drawer.
13:55 r You read the manual of the camera.
14:02 r You screw the camera to the tripod.
14:10 r You connect the camera to the laptop.
14:12 r You open the laptop.
14:20 r You type on the keyboard.
14:35 r You drink from the white cup.
14:50 r You talk to a woman with a green scarf.
14:52 r The woman with the green scarf gives you a book.
14:55 r The woman with the green scarf leaves the room.
14:58 r You put the book on the window sill.
15:02 r You clean your glasses with a cloth.
15:05 r You draw a sketch of a robot arm on paper.
15:20 r You hold the sketch up to the camera.
15:25 r You pin the sketch to the cork board.
15:30 r You stretch your arms.
15:35 r You type on the keyboard.
15:50 r You drink water from a bottle.
16:00 r You put on the headphones.
16:01 r You talk in a video call with one person.
16:30 r You take off the headphones.
16:33 r You eat a chocolate bar.
16:34 r You throw the wrapper in the bin.
16:40 r You unscrew the back of the desk lamp.
16:44 r You replace the bulb of the desk lamp.
16:47 r You screw the back onto the desk lamp.
16:48 r You put the screwdriver in the toolbox.
16:49 r You switch on the desk lamp.
16:55 r You feed the cat.
16:57 r You stroke the cat.
17:05 r You fold a shirt.
17:07 r You fold two towels.
17:10 r You put the towels in the cupboard.
17:15 r You iron a white shirt.
17:24 r You turn off the iron.
17:26 r You hang the white shirt on the door.
17:30 r You close the laptop.
17:32 r You take off your glasses.
17:33 r You put your glasses on the piano.
17:35 r You play the piano.
17:58 r You close the lid of the piano.
18:05 r You open the fridge.
18:06 r You take chicken and a pepper out of the fridge.
18:08 r You cut the pepper into strips.
18:12 r You cut the chicken into cubes.
18:15 r You put the wok on the stove.
18:16 r You turn on the stove.
18:17 r You pour oil into the wok.
18:19 r You add the chicken to the wok.
18:24 r You add the pepper to the wok.
18:26 r You pour soy sauce into the wok.
18:28 r You stir the wok with the spatula.
18:30 r You fill a pot with water.
18:31 r You pour rice into the pot.
18:33 q How long has the rice been on?
18:33 a You poured the rice in two minutes ago.
18:45 r You turn off the stove.
18:46 r You drain the rice.
18:48 r You serve rice and chicken on a plate.
18:50 r You light a candle.
18:52 r You sit down at the kitchen table.
18:53 r You eat rice and chicken.
18:58 r You drink from a glass of wine.
19:15 r You blow out the candle.
19:18 r You put the plate in the dishwasher.
19:22 r You scrub the wok.
19:30 r You take out the garbage.
19:36 r You wash your hands.
19:45 r You sit down on the sofa.
19:46 r You open the book.
19:47 r You read the book.
20:10 r You put a bookmark in the book.
20:12 r You pick up the remote control.
20:13 r You switch on the television.
20:22 r You take one pill from the blue pill box.
20:24 r You lock the front door.
20:26 r You set the alarm clock.
"""

NOW = "20:30"

QUESTIONS: tuple[tuple[str, str], ...] = (
    ("When did I last take the salt?", "12:03 You pick up the salt."),
    ("Did I turn off the stove?", "18:45 You turn off the stove."),
    ("Have I switched off the iron?", "17:24 You turn off the iron."),
    ("Where did I put my keys?", "13:43 You put your keys in the wooden bowl by the door."),
    ("Where are my glasses?", "17:33 You put your glasses on the piano."),
    ("Did I take my pills this morning?", "07:34 You take two pills with water."),
    ("Have I already taken my evening medicine?", "20:22 You take one pill from the blue pill box."),
    ("What did I have for breakfast?", "07:24 You eat the eggs."),
    ("What did I eat for lunch?", "12:11 You eat the salad."),
    ("what did i cook tonight", "18:24 You add the pepper to the wok."),
    ("Who did I talk to at ten to three?", "14:50 You talk to a woman with a green scarf."),
    ("Who gave me the book?", "14:52 The woman with the green scarf gives you a book."),
    ("Where did I leave the book she gave me?", "14:58 You put the book on the window sill."),
    ("What was I doing at 3?", "15:05 You draw a sketch of a robot arm on paper."),
    ("What was I doing around half past nine this morning?", "09:35 You water the fern on the window sill."),
    ("Did I water the plant today?", "09:35 You water the fern on the window sill."),
    ("When did I feed the cat?", "16:55 You feed the cat."),
    ("What did I do an hour ago?", "19:30 You take out the garbage."),
    ("What did I do just now?", "20:26 You set the alarm clock."),
    ("Did I lock the door?", "20:24 You lock the front door."),
    ("Did I lock the door yesterday evening?", "yesterday 22:10 You lock the front door."),
    ("What did I eat last night?", "yesterday 19:05 You eat pasta with mushrooms."),
    ("Where did I put the keys yesterday?", "yesterday 17:45 You put your car keys in the drawer."),
    ("What did I do right after I came back into the room?", "13:44 You put a parcel on the desk."),
    ("What did I do before I left the room?", "12:57 You pick up the envelope from the shelf by the door."),
    ("What was in the parcel?", "13:48 You take a small camera out of the parcel."),
    ("Where are the scissors?", "13:50 You put the scissors in the top drawer."),
    ("Did I unplug the soldering iron?", "10:12 You unplug the soldering iron."),
    ("What did the multimeter show?", "10:08 The multimeter shows 3.3 volts."),
    ("How many eggs did I use?", "07:14 You crack two eggs into the frying pan."),
    ("When did I drink coffee?", "12:47 You drink coffee."),
    ("Did I put the envelope in the post?", "12:57 You pick up the envelope from the shelf by the door."),
    ("what did I do with the sketch?", "15:25 You pin the sketch to the cork board."),
    ("Is the dishwasher running?", "12:35 You start the dishwasher."),
    ("Did I close the window before lunch?", "10:15 You close the window."),
    ("What did I ask you about my phone?", '11:30 you asked: "Where is my phone?"'),
    ("Where did I put my phone?", "11:32 You put your phone in your pocket."),
    ("What did I work on between 9 and 11?", "09:46 You solder a wire to the circuit board."),
    ("When was my first video call?", "09:00 You talk in a video call with three people."),
    ("Did I have any sweets this afternoon?", "16:33 You eat a chocolate bar."),
    ("What did I fix on the desk lamp?", "16:44 You replace the bulb of the desk lamp."),
    ("Did I blow out the candle?", "19:15 You blow out the candle."),
    ("when did i start reading", "19:47 You read the book."),
    ("Did I take out the trash?", "19:30 You take out the garbage."),
    ("Have I done any exercise today?", "15:30 You stretch your arms."),
    ("Which tool did I put in the toolbox?", "16:48 You put the screwdriver in the toolbox."),
    ("How did I season the salad?", "12:05 You grind pepper over the salad."),
    ("Did anyone visit me this afternoon?", "14:50 You talk to a woman with a green scarf."),
    ("What did I do while the rice was cooking?", '18:33 answered: "You poured the rice in two minutes ago."'),
    ("When did I get up from the desk the first time?", "09:30 You stand up from the desk."),
)

LATER_QUESTIONS: tuple[tuple[str, str], ...] = (
    ("When did I take a break from the laptop for a phone call?", "10:21 You talk on the phone."),
    ("Where's the envelope?", "12:57 You pick up the envelope from the shelf by the door."),
    ("what did I write on the sticky note pad", "08:31 You write a note on a yellow sticky note."),
    ("Where did I put my jacket?", "13:42 You hang your jacket on the hook."),
    ("Did I brush my teeth?", "07:44 You brush your teeth at the mirror."),
    ("What did I have for dinner?", "18:53 You eat rice and chicken."),
    ("What did I have for dinner yesterday?", "yesterday 19:05 You eat pasta with mushrooms."),
    ("When did I leave the house?", "12:58 You leave the room."),
    ("What happened at 5 to 3?", "14:55 The woman with the green scarf leaves the room."),
    ("what was I doing at 16:45", "16:44 You replace the bulb of the desk lamp."),
    ("What did I do in the last half hour?", "20:24 You lock the front door."),
    ("Did I charge my phone yesterday?", "yesterday 21:50 You plug your phone into the charger."),
    ("How long did I play the piano?", "17:58 You close the lid of the piano."),
    ("What did I put in the dishwasher?", "12:33 You put the knife in the dishwasher."),
    ("When did I first open the fridge?", "07:07 You open the fridge."),
    ("What did I pour over the salad?", "12:02 You pour olive oil over the salad."),
    ("What was the last thing I did?", "20:26 You set the alarm clock."),
    ("How many pages did I print?", "10:50 You print two pages."),
    ("Which pen did I sign with?", "10:53 You sign the pages with a black pen."),
    ("Did I drink any wine tonight?", "18:58 You drink from a glass of wine."),
    ("What did I do after I fed the cat?", "17:05 You fold a shirt."),
    ("What did I drink this morning?", "07:10 You drink from the red mug."),
    ("Where did I put the towels?", "17:10 You put the towels in the cupboard."),
    ("What fruit did I eat?", "11:08 You eat the orange."),
    ("Did I wash my hands before dinner?", "19:36 You wash your hands."),
    ("What did I watch on TV yesterday?", "yesterday 20:15 You watch television on the sofa."),
    ("Did I iron my shirt?", "17:15 You iron a white shirt."),
    ("What colour was the visitor's scarf?", "14:50 You talk to a woman with a green scarf."),
    ("When does the alarm ring?", "20:26 You set the alarm clock."),
    ("What was I cutting at noon?", "11:58 You cut the cucumber."),
)

KINDS = {"r": "remark", "q": "query", "a": "answer", "n": "note"}
DAY = datetime(2026, 3, 3)  # a Tuesday
NOW_LOCAL = datetime.combine(DAY, datetime.strptime(NOW, "%H:%M").time())
NOW_UNIX_S = NOW_LOCAL.timestamp()


def write_days(path: Path) -> None:
    journal = Journal.open(path, None)
    for text, date in ((YESTERDAY, DAY - timedelta(days=1)), (TODAY, DAY)):
        for index, row in enumerate(text.strip().splitlines()):
            at = date + timedelta(hours=int(row[:2]), minutes=int(row[3:5]), seconds=index * 0.01)
            journal.write(JournalLine(KINDS[row[6]], at.timestamp(), 0.0, "camera:0", row[8:]))
    journal.close()
